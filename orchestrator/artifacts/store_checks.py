"""Proving that a teacher store is whole, and repairing what can be repaired.

Reads a store's files; with repair, removes what is damaged (its rows are then missing and computed again) and compacts.
Knows nothing of models.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import DamagedFileError, Folder
from orchestrator.artifacts.key_set import Words, of_several_commits, order_of, pack_keys
from orchestrator.artifacts.ledger import CommitRecord, ledger_table, ledger_totals, merge_ledgers
from orchestrator.artifacts.store_files import File, parquet_names
from orchestrator.artifacts.store_rows import BOOKKEEPING, COMMITTED_US, ERROR_CLASS, KEY
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError


@dataclass
class _Found:
    """What is known of one file that was read."""

    problems: list[str] = field(default_factory=list)
    keys: Words = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    has_value: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    committed_us: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    record: CommitRecord | None = None


def verify_store(store: TeacherStore, *, repair: bool) -> tuple[list[str], dict[str, Any]]:
    """Check each file: readable, content as its name digests it, no empty values, none paid twice, costs known.

    Others may commit and compact meanwhile, but not while it repairs: then unreadable and altered files and leftovers
    of killed processes are removed (of a damaged segment the sound row groups are kept), rows without a value are
    dropped, and keys that are there twice are kept once.

    Returns the problems, in words, and counts: the ledger's totals, files, rows (keys with a value), refused (keys
    without one now; the ledger counts attempts), made_again (values that were committed beyond one a row: paid twice,
    or lost to damage and made anew).

    Raises:
        ArtifactError: others are at work in a store that is to be repaired, or the file system does not answer; nothing
            is removed on its account.
    """
    if repair:
        _refuse_beside_others(store)
    checked = _check_rows(store, repair=repair)
    problems = [problem for found in checked.values() for problem in found.problems]
    problems += _keys_twice(checked, repair=repair)
    told, totals = store.steadily(lambda: _check_ledger(store, checked, repair=repair))
    problems += told
    if repair:
        for part in (store.part_files, store.segment_files, store.ledger_files, store.intent_files):
            part.remove_leftovers()
        compact(store, everything=True)
        refused = store.refused().num_rows
        rows = len(pc.unique(store.done_keys()))
        counts = {"files": len(store.files()), "rows": rows, "refused": refused}
        return problems, {**totals, **counts, "made_again": int(totals["done"]) - rows}
    packed = np.concatenate([found.keys for found in checked.values()] or [np.empty((0, 2), np.uint64)])
    has_value = np.concatenate([found.has_value for found in checked.values()] or [np.zeros(0, bool)])
    num_keys, num_rows = _num_unique(packed), _num_unique(packed[has_value])
    is_still = set(checked) == set(store.files())  # else rows and records may be of different moments
    counts = {"files": len(checked), "rows": num_rows, "refused": num_keys - num_rows}
    return problems, {**totals, **counts, "made_again": max(0, int(totals["done"]) - num_rows) if is_still else 0}


def _refuse_beside_others(store: TeacherStore) -> None:
    intents = store.intents("")
    if working := [intent for intent in intents.all() if not intents.is_dead(intent)]:
        who = ", ".join(sorted({f"process {intent.pid} of {intent.host}" for intent in working})[:3])
        raise ArtifactError(
            f"{store.folder} cannot be repaired now: {len(working)} micro-batches are with {who}",
            expected="no command at work in the store, since what it is writing looks half-written",
            remedy="end it, or wait; what a lost machine has left counts as dead a quarter of an hour later",
        )


def _check_rows(store: TeacherStore, *, repair: bool) -> dict[File, _Found]:
    """Check parts and segments, and the segments that compactions write meanwhile; what these delete is left out."""
    checked: dict[File, _Found] = {}
    fresh = store.files()
    while fresh:
        for folder, name in fresh:
            try:
                checked[folder, name] = _check_file(store, folder, name, repair=repair)
            except FileNotFoundError:
                continue
        if repair:
            return checked
        files = set(store.files())
        checked = {file: found for file, found in checked.items() if file in files}
        fresh = [file for file in files - set(checked) if file[0] == store.segment_files]
    return checked


def _check_file(store: TeacherStore, folder: Folder, name: str, *, repair: bool) -> _Found:
    found = _Found()
    short = f"{folder.name}/{name}"
    rows, problem = _read(folder, name)
    if problem:
        saved = _salvage(store, folder, name) if repair else 0
        kept = f", {saved:,} of its rows kept" if saved else ""
        found.problems.append(f"{short}: {problem}{f' - removed{kept}' if repair else ''}")
    if rows is None:
        return found
    empty = _empty_rows(rows)
    if num_empty := pc.sum(empty).as_py() or 0:
        found.problems.append(f"{short}: {num_empty} rows without a value{' - removed' if repair else ''}")
        if repair:
            _rewrite(store, folder, name, rows.filter(pc.invert(empty)))
    if folder == store.part_files:
        found.record = CommitRecord.from_metadata(rows.schema.metadata)
        done = rows[ERROR_CLASS].null_count
        refused = rows.num_rows - done
        if found.record is None:
            found.problems.append(f"{short}: no record of what it cost")
        elif (found.record.done, found.record.refused) != (done, refused):
            told = f"its record says {found.record.done} and {found.record.refused}"
            found.problems.append(f"{short}: {done} rows with a value and {refused} refused, but {told}")
    found.keys = pack_keys(rows[KEY])[~np.asarray(empty)]
    found.has_value = np.asarray(pc.is_null(rows[ERROR_CLASS]))[~np.asarray(empty)]
    found.committed_us = np.asarray(rows[COMMITTED_US])[~np.asarray(empty)]
    return found


def _read(folder: Folder, name: str) -> tuple[pa.Table | None, str]:
    """A file's rows, or None with the reason when they cannot be trusted."""
    try:
        rows = folder.parquet(name, pq.ParquetFile.read)
    except DamagedFileError as error:
        return None, f"unreadable ({str(error.__cause__).splitlines()[0]})"
    if digest_table(rows) != name.removesuffix(".parquet").rsplit("-", 1)[-1]:
        return None, "its content is not what was written"
    return rows, ""


def _empty_rows(rows: pa.Table) -> pa.Array:
    """Whether each row has neither a reason nor all of its values: no null, no empty text, no NaN."""
    bad = pa.array(np.zeros(rows.num_rows, bool))
    for name in rows.column_names:
        if name in BOOKKEEPING:
            continue
        column = rows[name]
        empty = pc.is_null(column)
        if pa.types.is_string(column.type):
            empty = pc.or_(empty, pc.equal(pc.fill_null(pc.utf8_length(column), 0), 0))
        elif pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            empty = pc.or_(empty, _no_vector(column))
        bad = pc.or_(bad, empty)
    bad = pc.and_(bad, pc.is_null(rows[ERROR_CLASS]))
    return pa.concat_arrays(bad.chunks or [pa.array([], pa.bool_())]) if isinstance(bad, pa.ChunkedArray) else bad


def _no_vector(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each list is empty, or holds a NaN or an infinity."""
    chunks = []
    for chunk in column.chunks:
        lengths = np.asarray(pc.fill_null(pc.list_value_length(chunk), 0))
        finite = np.isfinite(np.asarray(chunk.flatten()))
        bad = lengths == 0
        bad[np.repeat(np.arange(len(chunk)), lengths)[~finite]] = True
        chunks.append(pa.array(bad))
    return pa.chunked_array(chunks, pa.bool_())


def _keys_twice(checked: dict[File, _Found], *, repair: bool) -> list[str]:
    """Which files hold values whose keys have one of another commit in another, or the same, as well.

    A refusal beside a value, or beside another refusal, is an attempt that was repeated.
    """
    files = list(checked)
    if not files:
        return []
    values = [found.keys[found.has_value] for found in checked.values()]
    committed_us = np.concatenate([found.committed_us[found.has_value] for found in checked.values()])
    owner = np.repeat(np.arange(len(files)), [len(keys) for keys in values])
    later, earlier = of_several_commits(np.concatenate(values), committed_us)
    counts = Counter(zip(owner[later].tolist(), owner[earlier].tolist(), strict=True))
    names = [f"{folder.name}/{name}" for folder, name in files]
    end = " - kept once" if repair else ""
    return [f"{names[later]}: {n:,} keys also in {names[earlier]}{end}" for (later, earlier), n in counts.items()]


def _num_unique(packed: Words) -> int:
    ordered = packed[order_of(packed)]
    return int(len(ordered) and 1 + (ordered[1:] != ordered[:-1]).any(axis=1).sum())


def _check_ledger(
    store: TeacherStore, checked: dict[File, _Found], *, repair: bool
) -> tuple[list[str], dict[str, float]]:
    """Read the ledger's files; what they have lost is told, and with repair noted as made at an unknown cost."""
    problems, tables = [], []
    for name in parquet_names(store.ledger_files.steady_names()):
        records, problem = _read(store.ledger_files, name)
        if records is None:
            problems.append(f"ledger/{name}: {problem}{' - removed' if repair else ''}")
            if repair:
                store.ledger_files.delete(name)
        else:
            tables.append(records.replace_schema_metadata(None))
    in_parts = [found.record for found in checked.values() if found.record is not None]
    totals = ledger_totals(merge_ledgers([ledger_table(in_parts), *tables]))
    values = [found.keys[found.has_value] for found in checked.values()]
    gap = (_num_unique(np.concatenate(values)) if values else 0) - int(totals["done"])
    if gap > 0:
        problems.append(f"ledger: it knows nothing of {gap:,} rows{' - noted without their cost' if repair else ''}")
        if repair:
            store.commit_nothing(CommitRecord(id=uuid.uuid4().hex, run="repair", done=gap))
            totals["done"] += gap
    return problems, totals


def _salvage(store: TeacherStore, folder: Folder, name: str) -> int:
    """Keep the row groups of a damaged file that are sound, and its record; delete it. Returns how many rows are kept.

    A file that is sound but not what was written (its name says otherwise) is not trusted.
    """

    def read(file: pq.ParquetFile) -> pa.Table | None:
        sound = [file.schema_arrow.empty_table()]
        for number in range(file.num_row_groups):
            try:
                sound.append(file.read_row_group(number))
            except (pa.ArrowException, OSError, ValueError):
                continue
        return pa.concat_tables(sound) if len(sound) <= file.num_row_groups else None

    try:
        rest = folder.parquet_in_memory(name, read)  # so that no fault of a network is taken for damage
    except DamagedFileError:
        rest = None
    if rest is None:
        folder.delete(name)
        return 0
    _rewrite(store, folder, name, rest)
    return int(rest.num_rows)


def _rewrite(store: TeacherStore, folder: Folder, name: str, rest: pa.Table) -> None:
    """Write what is left of a file anew, then delete it; what was paid stays paid."""
    if record := CommitRecord.from_metadata(rest.schema.metadata):
        store.write_ledger(ledger_table([record]))
    if rest.num_rows:
        store.write_segment(rest.replace_schema_metadata(None).sort_by(KEY))
    folder.delete(name)
