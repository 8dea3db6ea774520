"""The teacher store: what is committed is read in any order, what is missing is told, cost and content add up."""

import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.artifacts import teacher_store
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import DamagedFileError
from orchestrator.artifacts.store_arrays import read_rows, to_column
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.store_rows import in_range, key_ranges, one_row_per_key
from orchestrator.artifacts.teacher_store import TeacherStore, digest_keys, row_key, row_keys
from orchestrator.errors import ArtifactError
from tests.stores import DIM, caption, commit, key, keys, record, refuse, rows


@pytest.fixture(params=["path", "memory://", "local://", "s3://", "gs://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TeacherStore:
    """Two parts of three rows each, on every kind of file system."""
    if request.param in ("s3://", "gs://"):
        made = TeacherStore(request.getfixturevalue(f"{request.param[:2]}_uri"))
    elif request.param == "memory://":
        made = TeacherStore(f"memory://{uuid.uuid4().hex}/captions")
    else:
        made = TeacherStore(tmp_path / "store" if request.param == "path" else f"local://{tmp_path}/store")
    commit(made, [0, 1, 2])
    commit(made, [3, 4, 5])
    return made


@pytest.fixture
def local(tmp_path: Path) -> TeacherStore:
    return TeacherStore(tmp_path / "local")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_determined_by_every_named_part() -> None:
    first = row_key(kind="caption", image="1", prompt="2")
    assert first == row_key(prompt="2", image="1", kind="caption")
    others = {row_key(kind="caption", image="2", prompt="1"), row_key(kind="text", image="1", prompt="2")}
    assert len({first, *others}) == 3


def test_keys_of_many_rows_depend_on_context_values_and_the_border_between_them() -> None:
    images, prompts = ["a", "ab", "ü", ""], ["bc", "c", "", "x"]
    found = [*row_keys("x", images, prompts), *row_keys("y", images, prompts), *row_keys("x", prompts, images)]
    assert len(set(found)) == len(found)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in found)
    assert row_keys("x", images, prompts) == found[:4]
    assert row_keys("x", ["ab"], ["c"]) != row_keys("x", ["a"], ["bc"])


def test_a_set_of_keys_has_one_digest_in_any_order() -> None:
    assert digest_keys(keys([1, 2, 3])) == digest_keys(keys([3, 1, 2])) != digest_keys(keys([1, 2]))


@pytest.mark.parametrize("num_bytes", [0, 1, 100, 101, 250, 12345])
def test_ranges_of_keys_hold_every_string_exactly_once(num_bytes: int) -> None:
    ranges = key_ranges(num_bytes, 100)
    assert len(ranges) == max(1, -(-num_bytes // 100))
    strings = pa.chunked_array([["", "0", "0000", "ffff", "g", "z", "K", "é", *keys(range(200))]])
    inside = np.array([np.asarray(in_range(strings, one)) for one in ranges])
    assert (inside.sum(axis=0) == 1).all()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_rows_are_read_in_the_order_asked_for_and_as_often(store: TeacherStore) -> None:
    numbers = [5, 0, 5, 3]
    for _ in range(2):
        read = store.read(keys(numbers), ["caption", "vector"])
        assert read["caption"].to_pylist() == [caption(number) for number in numbers]
        assert read["vector"].to_pylist() == rows(numbers)["vector"].to_pylist()
        chunked = pa.chunked_array([pa.array(keys(numbers[:1])), pa.array(keys(numbers[1:]))])
        assert store.read(chunked, ["key", "caption"]).column_names == ["key", "caption"]
        compact(store, everything=True)


def test_missing_keys_come_in_order_and_once(store: TeacherStore) -> None:
    assert store.missing(keys([9, 1, 8, 9, 5, 7])) == keys([9, 8, 7])
    compact(store)
    assert store.missing(keys([9, 1, 8, 9, 5, 7])) == keys([9, 8, 7])
    lacks = store.lacking()
    assert lacks(pa.array(keys([0, 9]))).to_pylist() == [False, True]
    assert lacks(pa.chunked_array([keys([9]), keys([0])])).to_pylist() == [True, False]
    assert lacks(pa.array([], pa.string())).to_pylist() == []


def test_an_empty_store_lacks_all_and_has_cost_nothing(local: TeacherStore) -> None:
    assert local.missing(["a"]) == ["a"]
    assert (local.keys(), local.refused().num_rows, local.totals()["commits"], local.num_bytes()) == (set(), 0, 0, 0)
    assert local.read([], ["caption"]).column_names == ["key", "caption"]
    assert (compact(local), compact(local, everything=True), local.rows().num_rows) == (0, 0, 0)
    assert verify_store(local, repair=False)[0] == []
    assert local.refused().column_names == ["key", "error_class", "error_message", "transient", "path"]


def test_reading_what_is_not_there_names_how_many_and_which(store: TeacherStore) -> None:
    with pytest.raises(ArtifactError, match=f"lacks 2 of 3 rows, first {key(8)}"):
        store.read(keys([1, 8, 9]))


def test_a_micro_batch_with_a_key_twice_or_none_is_refused(local: TeacherStore) -> None:
    with pytest.raises(ArtifactError, match="twice"):
        commit(local, [1, 1])
    with pytest.raises(ArtifactError, match="twice"):
        local.commit(pa.table({"key": pa.array(["a", None])}), record(2))
    assert local.files() == []


def test_a_commit_of_no_rows_counts_its_cost_and_adds_nothing(local: TeacherStore) -> None:
    commit(local, [])
    for everything in (False, True):
        assert (local.keys(), local.totals()["forwards"], verify_store(local, repair=False)[0]) == (set(), 1, [])
        compact(local, everything=everything)
    assert local.files() == []


def test_a_key_that_was_paid_twice_has_the_same_value_before_and_after_compaction(local: TeacherStore) -> None:
    for run, text in (("zz", "first"), ("aa", "second"), ("mm", "third")):  # the names would sort otherwise
        local.commit(pa.table({"key": keys([1]), "caption": [text]}), record(1, run=run))
    digest = local.digest()
    for _ in range(2):
        assert local.read(keys([1, 1]), ["caption"])["caption"].to_pylist() == ["first", "first"]
        assert local.rows()["caption"].to_pylist() == ["first"]
        assert local.digest() == digest
        compact(local)
    assert local.totals()["model_rows"] == 3


def test_an_array_of_rows_paid_twice_is_of_the_commit_that_counts(local: TeacherStore) -> None:
    for run, start in (("zz", 0.0), ("aa", 100.0)):
        vectors = to_column([np.array([start + number, 1.0], np.float32) for number in range(4)])
        local.commit(pa.table({"key": keys(range(4)), "vector": vectors}), record(4, run=run))
    commit(local, [4])
    assert set(local.paid_twice()) == set(keys(range(4)))
    assert read_rows(local, keys([3, 0, 3]), "vector").tolist() == [[3.0, 1.0], [0.0, 1.0], [3.0, 1.0]]
    compact(local, everything=True)
    assert local.paid_twice() == {}


def test_files_that_are_not_the_stores_are_left_alone(local: TeacherStore) -> None:
    commit(local, [1])
    for folder in (local.part_files, local.segment_files, local.ledger_files):
        folder.write("notes.txt", b"mine")
    compact(local, everything=True)
    assert local.keys() == {key(1)}
    assert verify_store(local, repair=True)[0] == []
    assert local.part_files.names() == ["notes.txt"]


def test_a_damaged_part_is_told_with_its_remedy(local: TeacherStore) -> None:
    name = commit(local, [1])
    local.part_files.write(name, local.part_files.read(name)[:-20])
    for reading in (local.keys, local.digest, local.ledger, lambda: local.missing(["a"]), lambda: compact(local)):
        with pytest.raises(DamagedFileError, match="is damaged") as caught:
            reading()
        assert f"orchestrator verify {local.folder} --repair" in caught.value.remedy


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_refused_row_is_settled_unless_another_attempt_may_succeed(store: TeacherStore) -> None:
    refuse(store, [6])
    refuse(store, [7], "OSError", transient=True)
    for _ in range(2):
        assert store.missing(keys([5, 6, 7])) == keys([7])
        told = {row["key"]: row for row in store.refused().to_pylist()}
        assert set(told) == set(keys([6, 7]))
        assert told[key(6)] == {
            "key": key(6), "error_class": "DataError", "error_message": "cannot read image 6", "transient": False,
            "path": "images/6.png",
        }  # fmt: skip
        assert store.refused(keys([1, 7]))["key"].to_pylist() == keys([7])
        assert store.keys() == set(keys(range(6)))
        with pytest.raises(ArtifactError, match="lacks 1 of 2"):
            store.read(keys([5, 6]))
        compact(store, everything=True)


def test_a_value_lifts_a_refusal_whichever_was_committed_first(local: TeacherStore) -> None:
    refuse(local, [1, 2], transient=True)
    commit(local, [1])
    commit(local, [3])
    refuse(local, [3])
    for _ in range(2):
        assert local.refused()["key"].to_pylist() == keys([2])
        assert local.missing(keys([1, 2, 3])) == keys([2])
        assert local.read(keys([1, 3]), ["caption"])["caption"].to_pylist() == [caption(1), caption(3)]
        compact(local)
    assert local.totals()["refused"] == 3


def test_a_refusal_for_good_counts_more_than_one_that_may_be_lifted(local: TeacherStore) -> None:
    refuse(local, [1], "OSError", transient=True)
    refuse(local, [1], "DataError")
    for _ in range(2):
        assert local.refused()["error_class"].to_pylist() == ["DataError"]
        assert local.missing(keys([1])) == []
        compact(local)


def test_one_row_is_chosen_by_value_then_finality_then_time() -> None:
    table = pa.table(
        {
            "key": ["b", "a", "a", "a", "b", "b", "c"],
            "what": ["late", "transient", "final", "value", "early", "refused", "only"],
            "error_class": [None, "E", "E", None, None, "E", "E"],
            "transient": [False, True, False, False, False, False, True],
            "committed_us": [5, 1, 2, 9, 4, 1, 1],
        }
    )
    assert one_row_per_key(table)["what"].to_pylist() == ["value", "early", "only"]
    assert one_row_per_key(table.slice(0, 0)).num_rows == 0


# --- content and cost -------------------------------------------------------------------------------------------------


def test_the_digest_tells_the_content_and_not_how_it_was_made(tmp_path: Path) -> None:
    one, other = TeacherStore(tmp_path / "one"), TeacherStore(tmp_path / "other")
    for numbers in ([0, 1, 2], [3], [4, 5]):
        commit(one, numbers)
    refuse(one, [6, 7])
    refuse(one, [8], transient=True)
    for numbers in ([5, 3], [1, 0, 4, 2], [2, 3]):
        commit(other, numbers)
        compact(other, everything=True)
    mixed = pa.concat_tables([rows([9]), rows([10])])
    one.commit(mixed, record(2))
    commit(other, [10])
    commit(other, [9])
    assert one.digest() != other.digest()
    other.commit(pa.table({"key": keys([6, 7]), "error_class": ["DataError"] * 2}), record(0, 2))  # without columns
    assert one.digest() == other.digest()
    compact(one, everything=True)
    assert one.digest() == other.digest()
    commit(other, [11])
    assert one.digest() != other.digest()


def test_the_digest_does_not_depend_on_the_pieces_it_is_taken_in(
    local: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(local, range(300))
    refuse(local, range(300, 310))
    whole = local.digest()
    for piece_bytes in (10_000, 1_000, 50):
        ranges = key_ranges(local.num_bytes(), piece_bytes)
        monkeypatch.setattr(teacher_store, "key_ranges", lambda num_bytes, ranges=ranges: ranges)
        assert local.digest() == whole


def test_a_refused_vector_beside_others_can_be_read_again(local: TeacherStore) -> None:
    mask = pa.array([False, True, False])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3 * DIM, dtype=np.float16)), DIM, mask=mask)
    table = pa.table({"key": keys([1, 2, 3]), "vector": vectors, "error_class": [None, "DataError", None]})
    local.commit(table, record(2, 1))
    for _ in range(2):
        read = local.read(keys([3, 1]), ["vector"])["vector"].combine_chunks()
        assert read.flatten().to_numpy().reshape(2, DIM).tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
        assert local.refused()["key"].to_pylist() == keys([2])
        compact(local, everything=True)
    assert verify_store(local, repair=False)[0] == []


def test_the_ledger_adds_up_whatever_was_compacted(store: TeacherStore) -> None:
    def totals() -> dict[str, float]:
        return store.totals()

    refuse(store, [6])
    store.commit_nothing(record(run="gc", forwards=0.0, lost_attempts=2, lost_rows=6))
    expected = {
        "commits": 4, "done": 6, "refused": 1, "forwards": 3.0, "model_rows": 7, "lost_attempts": 2, "lost_rows": 6,
        "seconds": 0.0, "tokens": 60.0,
    }  # fmt: skip
    assert totals() == expected
    compact(store)
    assert totals() == expected
    for number in range(10, 30):  # more than the ledger's files are allowed to be
        commit(store, [number])
        compact(store)
    assert len(store.ledger_files.names()) <= 17
    assert (totals()["commits"], totals()["model_rows"]) == (24, 27)
    assert verify_store(store, repair=False)[0] == []


def test_the_run_that_names_a_part_may_be_any_text(local: TeacherStore) -> None:
    names = [commit(local, [number], run=run) for number, run in enumerate(["", "a-b/c", "ü.x y-z", "0123456789"])]
    assert [name.split("-")[0] for name in names] == ["none", "a_b_c", "__x_y_z", "01234567"]
    assert all(len(name.split("-")) == 3 for name in names)
    assert local.keys() == set(keys(range(4)))
