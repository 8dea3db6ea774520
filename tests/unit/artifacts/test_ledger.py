"""The ledger: records survive the tables, a commit is counted once, sums are sums."""

import pyarrow as pa

from orchestrator.artifacts.ledger import (
    LEDGER_SCHEMA,
    CommitRecord,
    ledger_records,
    ledger_table,
    ledger_totals,
    merge_ledgers,
)

RECORDS = [
    CommitRecord(id="b", run="r", place="host:1", committed_us=2, done=3, refused=1, forwards=2.5, model_rows=5,
                 lost_attempts=1, lost_rows=4, seconds=0.25, usage={"tokens": 7.0, "cost_usd": 0.5}),
    CommitRecord(id="a", run="r", committed_us=2, done=2),
    CommitRecord(id="c", run="s", committed_us=1, usage={"tokens": 1.0}),
]  # fmt: skip


def test_a_record_survives_the_metadata_of_a_file() -> None:
    for record in RECORDS:
        assert CommitRecord.from_metadata(record.to_metadata()) == record
    assert CommitRecord.from_metadata(None) is None
    assert CommitRecord.from_metadata({b"other": b"x"}) is None


def test_records_survive_the_table_in_the_order_of_their_commits() -> None:
    table = ledger_table(RECORDS)
    assert table.schema == LEDGER_SCHEMA
    assert ledger_records(table) == [RECORDS[2], RECORDS[1], RECORDS[0]]
    assert ledger_records(ledger_table([])) == []


def test_the_union_of_ledgers_holds_each_commit_once() -> None:
    whole = ledger_table(RECORDS)
    cuts = [ledger_table(RECORDS[:2]), ledger_table(RECORDS[1:]), ledger_table([]), ledger_table(RECORDS[:1])]
    assert merge_ledgers(cuts).equals(whole)
    assert merge_ledgers(cuts[::-1]).equals(whole)
    assert merge_ledgers([]).num_rows == 0


def test_totals_sum_every_column_and_every_count_of_the_back_ends() -> None:
    assert ledger_totals(ledger_table(RECORDS)) == {
        "commits": 3, "done": 5, "refused": 1, "forwards": 2.5, "model_rows": 5, "lost_attempts": 1, "lost_rows": 4,
        "seconds": 0.25, "tokens": 8.0, "cost_usd": 0.5,
    }  # fmt: skip
    same_usage = [CommitRecord(id=str(number), run="r", usage={"tokens": 2.0}) for number in range(10)]
    assert ledger_totals(ledger_table(same_usage))["tokens"] == 20.0
    assert ledger_totals(pa.Table.from_pylist([], schema=LEDGER_SCHEMA))["forwards"] == 0
