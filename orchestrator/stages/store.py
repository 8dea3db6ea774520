"""Looking at teacher stores, cleaning them, and taking rows out of them.

Reads stores and prints; `clean` rewrites them, `export` writes a file. Knows nothing of experiments.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.ledger import ledger_totals
from orchestrator.artifacts.storage import write_atomically
from orchestrator.artifacts.store_files import parquet_names
from orchestrator.artifacts.teacher_store import (
    BOOKKEEPING,
    ERROR_CLASS,
    KEY,
    TRANSIENT,
    TeacherStore,
)
from orchestrator.errors import ArtifactError
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.verify import some_stores

FORMATS = (".parquet", ".csv", ".jsonl")


def describe(store: TeacherStore) -> dict[str, Any]:
    """Rows, refusals, files, size and what it has cost, of one store."""
    refused = store.refused()
    totals = ledger_totals(store.ledger())
    rows = len(pc.unique(store.done_keys()))
    open_attempts = store.intents("").all()
    return {
        **totals,
        "store": str(store.folder),
        "rows": rows,
        "made_again": max(0, int(totals["done"]) - rows),
        "refused": refused.num_rows,
        "to_be_tried_again": pc.sum(refused[TRANSIENT]).as_py() or 0,
        "files": len(store.files()),
        "bytes": store.num_bytes(),
        "open_attempts": len(open_attempts),
    }


def show_stores(root: str, *, refused: bool, as_json: bool) -> None:
    """Print every store below a folder or URI: what it holds and has cost, or the rows that were refused."""
    console = Feedback().console
    for found in some_stores(root):
        if refused:
            for row in found.refused().to_pylist():
                again = " (will be tried again)" if row["transient"] else ""
                told = f"{row['error_class']}: {row['error_message']}{again}"
                console.print(json.dumps(row) if as_json else f"{row['path'] or row['key']}  {told}", markup=False)
            continue
        about = describe(found)
        if as_json:
            console.print(json.dumps(about), markup=False)
            continue
        console.print(f"[bold]{about['store']}[/bold]")
        again = f"{about['to_be_tried_again']:,} to be tried again"
        size = f"{about['files']} files, {about['bytes'] / 2**20:,.1f} MiB"
        console.print(f"  {about['rows']:,} rows, {about['refused']:,} refused ({again}), {size}")
        console.print(
            f"  paid: {about['model_rows']:,.0f} rows in {about['forwards']:,.0f} calls of the model, "
            f"{about['seconds']:,.0f} s; lost to crashes: {about['lost_rows']:,.0f} rows; "
            f"made again: {about['made_again']:,} rows; "
            f"open attempts: {about['open_attempts']}"
            + (f"; {about['cost_usd']:,.2f} USD" if "cost_usd" in about else "")
        )


def clean(store: TeacherStore, *, forget_refused: bool, dry_run: bool) -> dict[str, int]:
    """Compact wholly, count dead attempts as lost, remove leftovers; with `forget_refused`, drop refusals.

    Returns what was (or, with `dry_run`, would be) done. Rows that have their value are never removed. Others may be
    at work in the store.
    """
    intents = store.intents("")
    dead = [intent for intent in intents.all() if intents.is_dead(intent)]
    refused = store.refused().num_rows if forget_refused else 0
    told = {"files_before": len(store.files()), "dead_attempts": len(dead), "refusals_forgotten": refused}
    if dry_run:
        return told
    told["attempts_lost"] = store.count_lost(dead, "gc") if dead else 0
    folders = (store.part_files, store.segment_files, store.ledger_files, store.intent_files)
    told["leftovers"] = sum(folder.remove_leftovers() for folder in folders) + intents.remove_unreadable()
    compact(store, everything=True)
    if refused:
        store.steadily(lambda: _forget(store))
    return {**told, "files_after": len(store.files())}


def _forget(store: TeacherStore) -> None:
    """Write each segment that holds refusals again without them."""
    files = store.segment_files
    for name in parquet_names(files.steady_names()):
        rows = files.parquet(name, pq.ParquetFile.read)
        kept = rows.filter(pc.is_null(rows[ERROR_CLASS]))
        if kept.num_rows < rows.num_rows:
            if kept.num_rows:
                store.write_segment(kept.replace_schema_metadata(None))
            files.delete(name)


def export(store: TeacherStore, target: Path, columns: Sequence[str] = (), *, dry_run: bool = False) -> int:
    """Write the rows that have their value to a Parquet, CSV or JSON-lines file, in key order; returns how many.

    Args:
        dry_run: read and check everything, and write nothing.

    Raises:
        ArtifactError: an unknown format or column, or nothing to export.
    """
    if target.suffix not in FORMATS:
        raise ArtifactError(f"{target}: unknown format", expected=f"a name that ends with {', '.join(FORMATS)}")
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        writer: pq.ParquetWriter | None = None
        with temporary.open("wb") as stream:
            for rows in _exported(store, target, columns):
                if target.suffix == ".parquet":
                    writer = writer or pq.ParquetWriter(stream, rows.schema)
                    writer.write_table(rows)
                elif target.suffix == ".csv":
                    pacsv.write_csv(rows, stream, pacsv.WriteOptions(include_header=count == 0))
                else:
                    for batch in rows.to_batches(max_chunksize=4096):
                        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist()]
                        stream.write("".join(lines).encode())
                count += rows.num_rows
            if writer is not None:
                writer.close()

    if dry_run:
        return sum(rows.num_rows for rows in _exported(store, target, columns))
    write_atomically(target, write)
    return count


def _exported(store: TeacherStore, target: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows that have their value, in key order, with the columns that are wanted: the key first."""
    is_empty = True
    for rows in store.row_pieces():
        rows = rows.filter(pc.is_null(rows[ERROR_CLASS]))
        known = [name for name in rows.column_names if name not in BOOKKEEPING]
        if unknown := set(columns) - set(known):
            raise ArtifactError(f"no column {', '.join(sorted(unknown))}", expected=", ".join(known))
        wanted = [KEY, *(name for name in columns if name != KEY)] if columns else known
        is_empty &= not rows.num_rows
        yield _without_lists(rows.select(wanted), target) if target.suffix == ".csv" else rows.select(wanted)
    if is_empty:
        raise ArtifactError(f"{store.folder} holds no rows", expected="rows to export")


def _without_lists(rows: pa.Table, target: Path) -> pa.Table:
    lists = [f.name for f in rows.schema if pa.types.is_fixed_size_list(f.type) or pa.types.is_list(f.type)]
    if lists:
        raise ArtifactError(
            f"{target}: CSV cannot hold the vectors in {', '.join(lists)}", expected="a .parquet or .jsonl file"
        )
    return rows
