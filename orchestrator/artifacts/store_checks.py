"""Proving that a teacher store is whole, repairing what can be repaired, and clearing what is not needed.

Reads a store's files; with repair, removes what is damaged (its rows are then missing and computed again) and compacts.
Knows nothing of models.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.ledger import CommitRecord, ledger_totals
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.artifacts.teacher_store import BOOKKEEPING, ERROR_CLASS, KEY, TeacherStore


def verify_store(store: TeacherStore, *, repair: bool) -> tuple[list[str], dict[str, Any]]:
    """Check every file: readable, content equal to the digest in its name, no empty values, no key twice, costs known.

    Returns the problems, in words, and counts: files, rows (keys with a value), refused, and the ledger's totals. With
    `repair`, no other process may be at work in the store: unreadable and altered files and leftovers of killed
    processes are removed, rows without a value are dropped, and keys that are there twice are kept once.
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    for folder, name in store.files():
        short = f"{folder.name}/{name}"
        rows, found = _read(folder, name)
        problems += [f"{short}: {problem}{' - removed' if repair else ''}" for problem in found]
        if rows is None:
            if repair:
                folder.delete(name)
            continue
        if empty := _empty_rows(rows):
            problems.append(f"{short}: {len(empty)} rows without a value{' - removed' if repair else ''}")
            if repair:
                _keep(store, folder, name, rows, empty)
        keys = [key for key in rows[KEY].to_pylist() if key not in empty]
        if folder == store.part_files and CommitRecord.from_metadata(rows.schema.metadata) is None:
            problems.append(f"{short}: no record of what it cost")
        twice = [key for key in keys if key in seen]
        if twice:
            text = f"{short}: {len(twice)} keys also in {seen[twice[0]]}"
            problems.append(text + (" - kept once" if repair else ""))
        seen.update((key, short) for key in keys if key not in seen)
    for name in store.ledger_files.names():
        _, found = _read(store.ledger_files, name)
        problems += [f"ledger/{name}: {problem}{' - removed' if repair else ''}" for problem in found]
        if found and repair:
            store.ledger_files.delete(name)
    if repair:
        for part in (store.part_files, store.segment_files, store.ledger_files):
            part.remove_leftovers()
        compact(store, everything=True)
    if problems and not repair:
        return problems, {"files": len(store.files()), "rows": len(seen)}
    done, refused = store.done_keys(), store.refused().num_rows
    totals = ledger_totals(store.ledger())
    num_done = len(pc.unique(done)) if len(done) else 0
    return problems, {"files": len(store.files()), "rows": num_done, "refused": refused, **totals}


def _read(folder: Folder, name: str) -> tuple[pa.Table | None, list[str]]:
    """A file's rows, or None with the reason when it cannot be trusted."""
    try:
        rows = folder.parquet(name).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        return None, [f"unreadable ({str(error).splitlines()[0]})"]
    if digest_table(rows) != name.removesuffix(".parquet").rsplit("-", 1)[-1]:
        return None, ["its content is not what was written"]
    return rows, []


def _empty_rows(rows: pa.Table) -> set[str]:
    """Keys of rows that have neither a reason nor all of their values."""
    bad = pa.array([False] * rows.num_rows)
    for name in rows.column_names:
        if name in BOOKKEEPING:
            continue
        column = rows[name]
        empty = pc.is_null(column)
        if pa.types.is_string(column.type):
            empty = pc.or_(empty, pc.fill_null(pc.equal(pc.utf8_length(column), 0), True))
        bad = pc.or_(bad, pc.and_(empty, pc.is_null(rows[ERROR_CLASS])))
    return set(pc.filter(rows[KEY], bad).to_pylist())


def _keep(store: TeacherStore, folder: Folder, name: str, rows: pa.Table, drop: set[str]) -> None:
    """Write a file again without some rows; what was paid stays paid."""
    rest = rows.filter(pa.array([key not in drop for key in rows[KEY].to_pylist()]))
    written = f"{name.rpartition('-')[0]}-" if folder == store.part_files else ""
    folder.write_table(f"{written}{digest_table(rest)}.parquet", rest)
    folder.delete(name)
