"""The ledger of a teacher store: what each commit cost, and what crashes cost.

Holds the commit record, which travels inside the part file it describes, and the table that compaction gathers them in.
Knows nothing of rows.
"""

import json
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from orchestrator.frozen import Frozen

METADATA_KEY = b"orchestrator.commit"


class CommitRecord(Frozen):
    """One commit of one micro-batch (or of a part of one, when a bad row had to be isolated).

    Attributes:
        id: identity of the commit; counted once however often its rows are rewritten.
        run: the command that paid; place: node and process.
        done, refused: rows committed with a value, and with a reason for having none.
        forwards: calls of the model (or answered requests); model_rows: rows that went through it.
        lost_attempts, lost_rows: attempts at these rows by processes that died before their commit, and their rows.
        seconds: wall time of the micro-batch, its fetching and commit included.
        usage: the back end's other counts (tokens, cost_usd, retries, images_encoded).
    """

    id: str
    run: str
    place: str = ""
    committed_us: int = 0
    done: int = 0
    refused: int = 0
    forwards: float = 0
    model_rows: int = 0
    lost_attempts: int = 0
    lost_rows: int = 0
    seconds: float = 0.0
    usage: dict[str, float] = Field(default_factory=dict)

    def to_metadata(self) -> dict[bytes, bytes]:
        """As Parquet key-value metadata."""
        return {METADATA_KEY: self.model_dump_json().encode()}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None) -> Self | None:
        """The record in a file's metadata, if there is one."""
        found = (metadata or {}).get(METADATA_KEY)
        return cls.model_validate_json(found) if found else None


LEDGER_SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("run", pa.string()), ("place", pa.string()), ("committed_us", pa.int64()),
        ("done", pa.int64()), ("refused", pa.int64()), ("forwards", pa.float64()), ("model_rows", pa.int64()),
        ("lost_attempts", pa.int64()), ("lost_rows", pa.int64()), ("seconds", pa.float64()), ("usage", pa.string()),
    ]
)  # fmt: skip


def ledger_table(records: list[CommitRecord]) -> pa.Table:
    """The records as a table (LEDGER_SCHEMA), in the order of their commits, each id once."""
    rows = [{**record.model_dump(), "usage": json.dumps(record.usage, sort_keys=True)} for record in records]
    return merge_ledgers([pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)])


def ledger_records(table: pa.Table) -> list[CommitRecord]:
    """The records of a ledger table."""
    return [CommitRecord(**{**row, "usage": json.loads(row["usage"])}) for row in table.to_pylist()]


def merge_ledgers(tables: list[pa.Table]) -> pa.Table:
    """The union of ledger tables, in the order of the commits; a commit that several tell of is there once."""
    rows = pa.concat_tables([LEDGER_SCHEMA.empty_table(), *tables])
    rows = rows.take(pc.sort_indices(rows, sort_keys=[("id", "ascending"), ("committed_us", "ascending")]))
    ids = rows["id"].combine_chunks()
    first = np.ones(len(ids), bool)
    first[1:] = np.asarray(pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1))))
    return rows.filter(pa.array(first)).sort_by([("committed_us", "ascending"), ("id", "ascending")]).combine_chunks()


def ledger_totals(table: pa.Table) -> dict[str, float]:
    """Sums over a ledger table: commits, done, refused, forwards, model_rows, lost_*, seconds, and each usage count."""
    names = ("done", "refused", "forwards", "model_rows", "lost_attempts", "lost_rows", "seconds")
    totals: dict[str, Any] = {"commits": table.num_rows}
    totals |= {name: pc.sum(table[name]).as_py() or 0 for name in names}
    for counted in pc.value_counts(table["usage"]).to_pylist():
        for name, value in json.loads(counted["values"]).items():
            totals[name] = totals.get(name, 0) + value * counted["counts"]
    return totals
