"""Compaction of a teacher store: many small parts become few segments, sorted by key, each key once.

Reads and writes a store's folders. Every output is complete on disk before an input is deleted, outputs are named by
their content, and reading takes the union of what is there: a compaction may be killed at any moment and may run beside
commits and other compactions. Knows nothing of models.
"""

import itertools
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.ledger import CommitRecord, ledger_records, ledger_table
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.artifacts.teacher_store import KEY, SEGMENT_BYTES, TeacherStore, key_prefixes, one_row_per_key

MAX_PARTS = 512  # a job compacts when there are more: opening 512 small files takes about half a second
MAX_SMALL_SEGMENTS = 16
SMALL_BYTES = SEGMENT_BYTES // 4


def compact(store: TeacherStore, *, everything: bool = False) -> int:
    """Rewrite parts into segments, and many small segments into one; returns how many files were rewritten.

    With `everything` all segments are merged: afterwards each key is once in the store, and files follow the key order.
    """
    rewritten = sum(store.steadily(lambda names=names: _rewrite_parts(store, names)) for names in _part_groups(store))  # type: ignore[misc]
    rewritten += store.steadily(lambda: _merge_segments(store, everything=everything))
    return rewritten


def _part_groups(store: TeacherStore) -> Iterator[list[str]]:
    """Names of parts in groups that fit in memory."""
    group: list[str] = []
    size = 0
    for name in store.part_files.names():
        try:
            size += store.part_files.size(name)
        except FileNotFoundError:  # another compaction was faster
            continue
        group.append(name)
        if size >= SMALL_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _rewrite_parts(store: TeacherStore, names: list[str]) -> int:
    there = set(store.part_files.names())
    return _rewrite(store, [(store.part_files, name) for name in names if name in there], [""])


def _merge_segments(store: TeacherStore, *, everything: bool) -> int:
    sizes = {name: store.segment_files.size(name) for name in store.segment_files.names()}
    if everything:
        chosen = [] if _is_ordered(store, list(sizes)) else list(sizes)
    else:
        small = [name for name, size in sizes.items() if size < SMALL_BYTES]
        chosen = small if len(small) > MAX_SMALL_SEGMENTS else []
    prefixes = key_prefixes(sum(sizes[name] for name in chosen))
    return _rewrite(store, [(store.segment_files, name) for name in chosen], prefixes)


def _is_ordered(store: TeacherStore, names: list[str]) -> bool:
    """Whether the segments' ranges of keys do not overlap: each key is then in one file, once."""
    ranges = []
    for name in names:
        keys = store.segment_files.parquet(name).read(columns=[KEY])[KEY]
        ranges.append((keys[0].as_py(), keys[-1].as_py()))
    ranges.sort()
    return all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def _rewrite(store: TeacherStore, inputs: list[tuple[Folder, str]], prefixes: list[str]) -> int:
    """Write the rows of `inputs` as one segment per prefix, and their records; then delete the inputs."""
    if not inputs:
        return 0
    found = [CommitRecord.from_metadata(folder.parquet(name).schema_arrow.metadata) for folder, name in inputs]
    if records := [record for record in found if record is not None]:
        _add_to_ledger(store, records)
    written: set[str] = set()
    for prefix in prefixes:
        tables = [_read_range(folder.parquet(name), prefix) for folder, name in inputs]
        rows = one_row_per_key(pa.concat_tables(tables, promote_options="default"))
        if rows.num_rows:
            written.add(store.write_segment(rows))
    for folder, name in inputs:
        if not (folder == store.segment_files and name in written):
            folder.delete(name)
    return len(inputs)


def _read_range(file: pq.ParquetFile, prefix: str) -> pa.Table:
    """A file's rows whose key begins with `prefix`; only the row groups that may hold some are read."""
    if not prefix:
        return file.read().replace_schema_metadata(None)
    low, high = prefix, prefix + "g"  # keys are hexadecimal digits
    column = file.schema_arrow.names.index(KEY)
    groups = []
    for number in range(file.num_row_groups):
        statistics = file.metadata.row_group(number).column(column).statistics
        if statistics is None or not (statistics.max < low or statistics.min >= high):
            groups.append(number)
    rows = file.read_row_groups(groups) if groups else file.schema_arrow.empty_table()
    return rows.filter(pc.starts_with(rows[KEY], prefix)).replace_schema_metadata(None)


def _add_to_ledger(store: TeacherStore, records: list[CommitRecord]) -> None:
    """Write records, with those of the ledger's files when these are many; only then are these files deleted."""
    files = store.ledger_files
    old = names if len(names := files.names()) >= MAX_SMALL_SEGMENTS else []
    for name in old:
        records = records + ledger_records(files.parquet(name).read())
    table = ledger_table(records)
    written = f"{digest_table(table)}.parquet"
    files.write_table(written, table)
    files.sync()
    for name in old:
        if name != written:
            files.delete(name)
