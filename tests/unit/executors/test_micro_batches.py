"""The plan file: items are packed densely in their order, read one micro-batch at a time, by any process."""

import os
import random
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.executors.micro_batches import MicroBatches, MicroBatchWriter

SCHEMA = pa.schema([("number", pa.int64()), ("keys", pa.list_(pa.string())), ("path", pa.string())])


def items(first: int, last: int) -> pa.Table:
    """Rows FIRST to LAST, with a column that the plan does not want, in another order."""
    numbers = range(first, last)
    return pa.table(
        {
            "path": [None if number % 5 == 0 else f"images/{number}.png" for number in numbers],
            "other": [0.0 for _ in numbers],
            "keys": [[f"{number}-{place}" for place in range(number % 4)] for number in numbers],
            "number": pa.array(list(numbers), pa.int32()),
        }
    )


@pytest.mark.parametrize("batch_size", [1, 3, 8, 1000])
def test_items_are_packed_densely_whatever_the_pieces_they_come_in(tmp_path: Path, batch_size: int) -> None:
    draw = random.Random(batch_size)
    path = tmp_path / "new folder" / "plan.arrow"
    with MicroBatchWriter(path, SCHEMA, batch_size) as writer:
        start = 0
        while start < 100:
            end = min(100, start + draw.randrange(0, 20))
            writer.add(items(start, end))
            start = end
        assert writer.num_items == 100
    plan = MicroBatches(path)
    whole = items(0, 100).select(SCHEMA.names).cast(SCHEMA)
    assert [batch.num_rows for batch in plan] == [min(batch_size, 100 - n) for n in range(0, 100, batch_size)]
    assert pa.concat_tables(list(plan)).equals(whole)
    middle = len(plan) // 2
    assert plan[middle].equals(whole.slice(middle * batch_size, batch_size))


def test_whole_micro_batches_taken_out_leave_the_others_as_they_were(tmp_path: Path) -> None:
    with MicroBatchWriter(tmp_path / "first", SCHEMA, 4) as writer:
        writer.add(items(0, 22))
    first = list(MicroBatches(tmp_path / "first"))
    with MicroBatchWriter(tmp_path / "again", SCHEMA, 4) as writer:  # after a crash: 1 and 3 are in the store
        writer.add(pa.concat_tables([first[0], first[2]]))
        writer.add(pa.concat_tables([first[4], first[5]]))
    again = list(MicroBatches(tmp_path / "again"))
    assert all(one.equals(other) for one, other in zip(again, [first[0], first[2], first[4], first[5]], strict=True))


def test_a_plan_of_nothing_has_no_micro_batches(tmp_path: Path) -> None:
    with MicroBatchWriter(tmp_path / "plan", SCHEMA, 4) as writer:
        writer.add(items(0, 0))
    plan = MicroBatches(tmp_path / "plan")
    assert (len(plan), list(plan)) == (0, [])
    with pytest.raises(IndexError):
        plan[0]


@pytest.mark.parametrize("number", [-1, 2])
def test_a_micro_batch_that_is_not_there_is_an_index_error(tmp_path: Path, number: int) -> None:
    with MicroBatchWriter(tmp_path / "plan", SCHEMA, 4) as writer:
        writer.add(items(0, 8))
    with pytest.raises(IndexError):
        MicroBatches(tmp_path / "plan")[number]


def test_the_plan_is_as_large_as_its_items_however_it_was_cut(tmp_path: Path) -> None:
    for batch_size in (10, 1000):
        with MicroBatchWriter(tmp_path / str(batch_size), SCHEMA, batch_size) as writer:
            writer.add(items(0, 1000))  # each micro-batch is a slice of one table
    small, large = (os.path.getsize(tmp_path / str(size)) for size in (10, 1000))  # noqa: PTH202
    assert small < 5 * large  # 100 headers; with the whole table in each it would be 100 times
