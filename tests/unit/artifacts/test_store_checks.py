"""`verify`: what is damaged, empty, twice or without its cost is told; a repair keeps all that can be kept."""

import math
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts import folder as folder_module
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError
from tests.stores import DIM, commit, keys, record, refuse, rows


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    """Two parts of four rows each."""
    made = TeacherStore(tmp_path / "store")
    commit(made, [0, 1, 2, 3])
    commit(made, [4, 5, 6, 7])
    return made


def flip(folder: Folder, name: str, place: int) -> None:
    data = bytearray(folder.read(name))
    data[place] ^= 1
    folder.write(name, bytes(data))


def clean_after_repair(store: TeacherStore) -> dict[str, float]:
    verify_store(store, repair=True)
    problems, counts = verify_store(store, repair=False)
    assert problems == []
    return counts


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sound_store_has_no_problems_and_its_counts_are_right(store: TeacherStore, compacted: bool) -> None:
    refuse(store, [8, 9])
    refuse(store, [0], transient=True)  # lifted
    if compacted:
        compact(store, everything=True)
    problems, counts = verify_store(store, repair=False)
    assert problems == []
    assert (counts["rows"], counts["refused"], counts["done"], counts["model_rows"]) == (8, 2, 8, 11)
    assert clean_after_repair(store) == {**counts, "files": 1}


@pytest.mark.parametrize("damage", ["cut off", "empty", "text"])
def test_a_damaged_part_is_told_and_only_a_repair_removes_it(store: TeacherStore, damage: str) -> None:
    files = store.part_files
    name = files.names()[0]
    lost = set(files.parquet(name, pq.ParquetFile.read)["key"].to_pylist())
    files.write(name, {"cut off": files.read(name)[:-20], "empty": b"", "text": b"what is this doing here"}[damage])
    problems, counts = verify_store(store, repair=False)
    assert problems[0].startswith(f"parts/{name}: unreadable (")
    assert (len(problems), counts["rows"], name in files.names()) == (1, 4, True)
    assert "removed" in verify_store(store, repair=True)[0][0]
    assert verify_store(store, repair=False) == ([], {**counts, "files": 1})
    assert set(store.missing(keys(range(8)))) == lost


def test_a_flipped_bit_in_a_segment_costs_one_row_group_and_no_record(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_ROW_GROUP_ROWS", 100)
    for start in range(0, 1000, 250):
        commit(store, range(start, start + 250))
    compact(store, everything=True)
    totals = store.totals()
    (name,) = store.segment_files.names()
    flip(store.segment_files, name, store.segment_files.sizes()[name] // 2)
    problems, _ = verify_store(store, repair=False)
    assert len(problems) == 1
    assert "unreadable" in problems[0]
    problems, _ = verify_store(store, repair=True)
    assert "900 of its rows kept" in problems[0]
    assert verify_store(store, repair=False)[0] == []
    assert (len(store.keys()), len(store.missing(keys(range(1000))))) == (900, 100)
    assert store.totals() == totals


def test_a_flipped_bit_in_a_part_costs_its_rows_and_not_its_record(store: TeacherStore) -> None:
    totals, name = store.totals(), store.part_files.names()[0]
    flip(store.part_files, name, 60)
    assert len(verify_store(store, repair=False)[0]) == 1
    clean_after_repair(store)
    assert (len(store.keys()), store.totals()) == (4, totals)


def test_a_sound_file_that_is_not_what_was_written_is_not_trusted(store: TeacherStore) -> None:
    name, other = store.part_files.names()
    store.part_files.write(name, store.part_files.read(other))
    problems, _ = verify_store(store, repair=False)
    assert problems == [f"parts/{name}: its content is not what was written"]
    assert clean_after_repair(store)["rows"] == 4


def test_a_key_in_two_files_is_told_and_a_compaction_of_everything_keeps_it_once(store: TeacherStore) -> None:
    compact(store)
    commit(store, [6, 7, 8])
    problems, counts = verify_store(store, repair=False)
    part, segment = store.part_files.names()[0], store.segment_files.names()[0]
    assert problems == [f"parts/{part}: 2 keys also in segments/{segment}"]
    assert (counts["rows"], counts["done"]) == (9, 11)
    compact(store, everything=True)
    assert verify_store(store, repair=False) == ([], {**counts, "files": 1})


@pytest.mark.parametrize("empty", ["", None])
@pytest.mark.parametrize("compacted", [False, True])
def test_an_empty_text_is_told_and_a_repair_makes_its_row_missing(
    store: TeacherStore, empty: str | None, compacted: bool
) -> None:
    bad = rows([8, 9])
    store.commit(bad.set_column(1, "caption", pa.array([empty, "a dog"])), record(2))
    if compacted:
        compact(store)
    problems, counts = verify_store(store, repair=False)
    assert [problem.split(": ")[1] for problem in problems] == ["1 rows without a value"]
    assert counts["rows"] == 9
    counts = clean_after_repair(store)
    assert (counts["rows"], counts["model_rows"]) == (9, 10)
    assert store.missing(keys([8, 9])) == keys([8])


@pytest.mark.parametrize("bad", [[1.0, math.nan], [math.inf, 1.0], [], None])
def test_a_vector_without_finite_numbers_is_told(tmp_path: Path, bad: list[float] | None) -> None:
    store = TeacherStore(tmp_path / "vectors")
    vectors = pa.array([[1.0, 2.0], bad, [3.0, 4.0]], pa.list_(pa.float32()))
    store.commit(pa.table({"key": keys([1, 2, 3]), "vector": vectors}), record(3))
    problems, _ = verify_store(store, repair=False)
    assert len(problems) == 1
    assert "1 rows without a value" in problems[0]
    clean_after_repair(store)
    assert store.missing(keys([1, 2, 3])) == keys([2])


def test_a_refused_row_needs_no_value(store: TeacherStore) -> None:
    refuse(store, [8])
    store.commit(pa.table({"key": keys([9]), "error_class": ["DataError"]}), record(0, 1))
    assert verify_store(store, repair=False)[0] == []


def test_a_record_that_does_not_fit_its_rows_is_told(store: TeacherStore) -> None:
    store.commit(pa.table({"key": keys([8]), "caption": ["a dog"]}), record(2, 1))
    problems, _ = verify_store(store, repair=False)
    assert "1 rows with a value and 0 refused, but its record says 2 and 1" in problems[0]


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_lost_ledger_is_told_and_a_repair_notes_rows_of_unknown_cost(store: TeacherStore, how: str) -> None:
    compact(store)
    commit(store, [8])
    (name,) = store.ledger_files.names()
    if how == "gone":
        store.ledger_files.delete(name)
    else:
        flip(store.ledger_files, name, 20)
    problems, counts = verify_store(store, repair=False)
    assert problems[-1] == "ledger: it knows nothing of 8 rows"
    assert len(problems) == (1 if how == "gone" else 2)
    assert (counts["rows"], counts["done"]) == (9, 1)
    counts = clean_after_repair(store)
    assert (counts["rows"], counts["done"], counts["model_rows"]) == (9, 9, 1)


def test_a_store_in_which_others_are_at_work_is_not_repaired(store: TeacherStore) -> None:
    intents = store.intents("theirs")
    at_work = intents.begin("a", "a", keys([8]))
    flip(store.part_files, store.part_files.names()[0], 60)
    with pytest.raises(ArtifactError, match=f"1 micro-batches are with process {os.getpid()}"):
        verify_store(store, repair=True)
    assert len(verify_store(store, repair=False)[0]) == 1
    intents.end(at_work)
    clean_after_repair(store)


def test_values_that_were_made_again_are_counted_also_when_a_compaction_has_kept_one_of_them(
    store: TeacherStore,
) -> None:
    commit(store, [6, 7, 8])
    for _ in range(2):
        assert verify_store(store, repair=False)[1]["made_again"] == 2
        compact(store, everything=True)
    assert verify_store(store, repair=False)[0] == []


def test_verify_ends_however_often_others_commit(store: TeacherStore) -> None:
    class Busy(Folder):
        commits = 0

        def names(self) -> list[str]:
            Busy.commits += 1
            assert Busy.commits < 100
            commit(TeacherStore(store.folder), [100 + Busy.commits])
            return super().names()

    looked_at = TeacherStore(store.folder)
    looked_at.part_files = Busy(store.part_files.uri)
    problems, counts = verify_store(looked_at, repair=False)
    assert problems == []
    assert (counts["rows"] >= 8, counts["made_again"]) == (True, 0)


def test_a_fault_of_the_network_is_not_taken_for_damage(store: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_ROW_GROUP_ROWS", 4)
    name = commit(store, range(100, 116))
    assert store.part_files.local is not None
    path = store.part_files.local / name
    group = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    begin = group.dictionary_page_offset or group.data_page_offset
    data[begin + 40] ^= 255
    path.write_bytes(data)

    class Remote(Folder):
        """Of which single row groups fail to come, but not the whole file."""

        def parquet(self, name, read):  # type: ignore[no-untyped-def]
            def failing(file: pq.ParquetFile):  # type: ignore[no-untyped-def]
                file.read_row_group = lambda number, **_: (_ for _ in ()).throw(OSError("NETWORK_CONNECTION"))
                return read(file)

            return super().parquet(name, failing)

    store.part_files = Remote(store.part_files.uri)
    (problem,), counts = verify_store(store, repair=True)
    assert "12 of its rows kept" in problem
    assert counts["rows"] == 8 + 12


def test_a_repair_removes_what_killed_processes_left_half_written(store: TeacherStore) -> None:
    for folder in (store.part_files, store.intent_files):
        assert folder.local is not None
        folder.local.mkdir(exist_ok=True)
        (folder.local / ".x.parquet.123.tmp").write_bytes(b"half")
        os.utime(folder.local / ".x.parquet.123.tmp", (0, 0))
    assert verify_store(store, repair=False)[0] == []
    clean_after_repair(store)
    assert not list(Path(str(store.folder)).rglob("*.tmp"))


def test_nothing_is_removed_when_the_file_system_does_not_answer(s3_uri: str) -> None:
    good = TeacherStore(s3_uri)
    commit(good, [0, 1, 2])

    class Unsteady(Folder):
        """Lists, but cannot be read."""

        @property
        def _opened(self):  # type: ignore[no-untyped-def]
            filesystem, path = good.part_files._opened
            return filesystem, path

        def read(self, name: str) -> bytes:
            raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation")

        def parquet(self, name, read):  # type: ignore[no-untyped-def]
            return self.parquet_in_memory(name, read)

    store = TeacherStore(s3_uri)
    store.part_files = Unsteady(good.part_files.uri)
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        verify_store(store, repair=True)
    assert "network" in caught.value.remedy
    assert good.keys() == set(keys([0, 1, 2]))


def test_vectors_come_back_from_a_repaired_store_as_they_were(store: TeacherStore) -> None:
    flip(store.part_files, store.part_files.names()[0], 60)
    clean_after_repair(store)
    (kept,) = [numbers for numbers in ([0, 1, 2, 3], [4, 5, 6, 7]) if not store.missing(keys(numbers))]
    vectors = store.read(keys(kept), ["vector"])["vector"].to_pylist()
    assert vectors == [[number + place / 8 for place in range(DIM)] for number in kept]
