"""Compaction of a teacher store: many small parts become few segments, sorted by key, each key once.

Reads and writes a store's folders. Every output is complete on disk before an input is deleted, no name is used twice,
and reading takes the union of what is there: a compaction may be killed at any moment and may run beside commits and
other compactions. Knows nothing of models.
"""

import itertools
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.ledger import CommitRecord, ledger_table, merge_ledgers
from orchestrator.artifacts.store_files import parquet_names, read_range
from orchestrator.artifacts.store_rows import KEY, SEGMENT_BYTES, key_ranges, one_row_per_key
from orchestrator.artifacts.teacher_store import TeacherStore

MAX_PARTS = 512  # a job compacts when there are more: opening 512 small files takes about half a second
MAX_SMALL_SEGMENTS = 16
SMALL_BYTES = SEGMENT_BYTES // 4  # less than the pieces that merging makes, so that these are not merged again


def compact(store: TeacherStore, *, everything: bool = False) -> int:
    """Rewrite parts into segments, and many small segments into one; returns how many files were rewritten.

    With `everything` all segments are merged: afterwards (unless others commit) each key is once in the store, and
    files follow the key order.
    """
    rewritten = sum(_rewrite_parts(store, names) for names in _part_groups(store))
    return rewritten + store.steadily(lambda: _merge_segments(store, everything=everything))


def _part_groups(store: TeacherStore) -> Iterator[list[str]]:
    """Names of parts in groups that fit in memory."""
    group: list[str] = []
    total = 0
    for name, size in store.part_files.sizes().items():
        if not parquet_names([name]):
            continue
        group.append(name)
        total += size
        if total >= SMALL_BYTES:
            yield group
            group, total = [], 0
    if group:
        yield group


def _rewrite_parts(store: TeacherStore, names: list[str]) -> int:
    """Write the rows of parts as one segment, and their records into the ledger; then delete them."""
    files = store.part_files

    def read() -> tuple[list[str], list[pa.Table]]:
        there = set(files.names())  # another compaction may be faster
        found = [name for name in names if name in there]
        return found, files.each(lambda name: files.parquet(name, pq.ParquetFile.read), found)

    found, tables = store.steadily(read)
    if not found:
        return 0
    records = [CommitRecord.from_metadata(table.schema.metadata) for table in tables]
    if known := [record for record in records if record is not None]:
        store.steadily(lambda: _add_to_ledger(store, ledger_table(known)))
    plain = [table.replace_schema_metadata(None) for table in tables]
    rows = one_row_per_key(pa.concat_tables(plain, promote_options="default"))
    _replace(store, files, found, [store.write_segment(rows)] if rows.num_rows else [])
    return len(found)


def _merge_segments(store: TeacherStore, *, everything: bool) -> int:
    """Write the rows of segments anew, in pieces by key; then delete them."""
    files = store.segment_files
    sizes = {name: size for name, size in files.sizes().items() if parquet_names([name])}
    if everything:
        chosen = [] if _is_ordered(store, list(sizes)) else list(sizes)
    else:
        small = [name for name, size in sizes.items() if size < SMALL_BYTES]
        chosen = small if len(small) > MAX_SMALL_SEGMENTS else []
    written: list[str] = []
    try:
        for keys_from_to in key_ranges(sum(sizes[name] for name in chosen)) if chosen else []:
            read = partial(read_range, keys_from_to=keys_from_to)
            tables = files.each(lambda name, read=read: files.parquet(name, read), chosen)  # type: ignore[misc]
            rows = one_row_per_key(pa.concat_tables(tables, promote_options="default"))
            if rows.num_rows:
                written.append(store.write_segment(rows))
    except FileNotFoundError:  # another compaction merges them as well; what it has deleted, it has written
        files.delete_all(written)
        raise
    _replace(store, files, chosen, written)
    return len(chosen)


def _replace(store: TeacherStore, files: Folder, old: list[str], new: list[str]) -> None:
    """Delete what was rewritten; or, when another compaction was faster, our segments: its own hold the same rows.

    Whoever deletes an input keeps its output, so that never both outputs go.
    """
    if set(old).isdisjoint(files.names()):
        store.segment_files.delete_all(new)
    else:
        files.delete_all(old)


def _is_ordered(store: TeacherStore, names: list[str]) -> bool:
    """Whether the segments' ranges of keys do not overlap: each key is then in one file, once."""

    def ends(file: pq.ParquetFile) -> tuple[str, str] | None:
        if not file.metadata.num_rows:
            return None
        first, last = 0, file.num_row_groups - 1
        keys = [file.read_row_group(number, columns=[KEY])[KEY] for number in (first, last)]
        return keys[0][0].as_py(), keys[1][-1].as_py()

    ranges = store.segment_files.each(lambda name: store.segment_files.parquet(name, ends), names)
    known = sorted(found for found in ranges if found is not None)
    return len(known) == len(ranges) and all(before[1] < after[0] for before, after in itertools.pairwise(known))


def _add_to_ledger(store: TeacherStore, records: pa.Table) -> None:
    """Write records, with those of the ledger's files when these are many; only then are these files deleted."""
    names = parquet_names(store.ledger_files.names())
    old = names if len(names) >= MAX_SMALL_SEGMENTS else []
    store.write_ledger(merge_ledgers([records, *store.ledger_files.each(store.read_ledger, old)]))
    store.ledger_files.delete_all(old)
