"""The content-addressed store: committed once, read in any order, proved whole, repaired, shared by processes."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts.teacher_store import TeacherStore, row_key
from orchestrator.errors import ArtifactError

COMMITTER = """
import sys
from pathlib import Path
import pyarrow as pa
from orchestrator.artifacts.teacher_store import TeacherStore

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = TeacherStore(folder)
print("ready", flush=True)
sys.stdin.readline()
for start in range(first, last, 2):
    keys = [f"k{number:04d}" for number in (start, start + 1)]
    store.commit(pa.table({"key": keys, "caption": [f"of {key}" for key in keys]}), model_rows=2)
"""


def captions(*keys: str) -> pa.Table:
    return pa.table({"key": list(keys), "caption": [f"caption of {key}" for key in keys]})


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    """Two parts of two rows each."""
    made = TeacherStore(tmp_path / "store")
    made.commit(captions("a", "b"), model_rows=2)
    made.commit(captions("c", "d"), model_rows=2)
    return made


def test_a_key_is_determined_by_every_named_part() -> None:
    first = row_key(kind="caption", image="1", prompt="2")
    assert first == row_key(prompt="2", image="1", kind="caption")
    assert (
        len({first, row_key(kind="caption", image="2", prompt="1"), row_key(kind="text", image="1", prompt="2")}) == 3
    )


def test_committing_the_same_micro_batch_twice_changes_nothing(store: TeacherStore) -> None:
    before = store.parts()
    store.commit(captions("a", "b"), model_rows=2)
    assert store.parts() == before
    assert (store.keys(), store.model_rows()) == ({"a", "b", "c", "d"}, 4)


def test_missing_keys_come_in_order_and_once(store: TeacherStore, tmp_path: Path) -> None:
    assert store.missing(["z", "a", "y", "z", "d", "x"]) == ["z", "y", "x"]
    assert TeacherStore(tmp_path / "not there").missing(["a"]) == ["a"]


def test_rows_are_read_in_the_order_asked_for_and_as_often(store: TeacherStore) -> None:
    read = store.read(["d", "a", "d", "b"])
    assert read["caption"].to_pylist() == [f"caption of {key}" for key in "dadb"]


def test_reading_what_is_not_there_names_how_many_and_which(store: TeacherStore) -> None:
    with pytest.raises(ArtifactError, match="lacks 2 of 3 rows, first y"):
        store.read(["a", "y", "z"])


def test_a_micro_batch_with_a_key_twice_is_refused(store: TeacherStore) -> None:
    with pytest.raises(ArtifactError, match="twice"):
        store.commit(captions("e", "e"), model_rows=2)
    assert store.missing(["e"]) == ["e"]


def test_a_sound_store_has_no_problems(store: TeacherStore) -> None:
    assert store.verify(repair=False) == ([], {"parts": 2, "rows": 4, "keys": 4, "model_rows": 4})


def test_a_truncated_part_is_told_and_only_a_repair_removes_it(store: TeacherStore) -> None:
    part = store.parts()[0]
    lost = set(pq.read_table(part, partitioning=None)["key"].to_pylist())
    part.write_bytes(part.read_bytes()[:-20])
    problems, counts = store.verify(repair=False)
    assert len(problems) == 1
    assert problems[0].startswith(f"{part.name}: unreadable")
    assert counts["rows"] == 2
    assert part.exists()
    assert "removed" in store.verify(repair=True)[0][0]
    assert store.verify(repair=False)[0] == []
    assert set(store.missing("abcd")) == lost


def test_a_key_in_two_parts_is_told_and_a_repair_keeps_it_once(store: TeacherStore) -> None:
    store.commit(captions("d", "e"), model_rows=2)
    problems, counts = store.verify(repair=False)
    assert len(problems) == 1
    assert "1 keys also in" in problems[0]
    assert (counts["rows"], counts["keys"]) == (6, 5)
    store.verify(repair=True)
    problems, counts = store.verify(repair=False)
    assert (problems, counts["rows"], counts["keys"]) == ([], 5, 5)
    assert store.read(["d", "e"])["caption"].to_pylist() == ["caption of d", "caption of e"]


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_caption_is_told_and_a_repair_makes_its_row_missing(store: TeacherStore, empty: str | None) -> None:
    store.commit(pa.table({"key": ["e", "f"], "caption": [empty, "a dog"]}), model_rows=2)
    problems, _ = store.verify(repair=False)
    assert len(problems) == 1
    assert "empty values in caption" in problems[0]
    assert store.missing(["e", "f"]) == []
    store.verify(repair=True)
    assert store.verify(repair=False)[0] == []
    assert store.missing(["e", "f"]) == ["e"]


def test_a_part_whose_rows_are_not_those_of_its_name_is_removed_by_a_repair(store: TeacherStore) -> None:
    part = store.parts()[0]
    pq.write_table(captions("x"), part)
    problems, _ = store.verify(repair=True)
    assert "do not match its name" in problems[0]
    assert not part.exists()


def test_two_processes_that_commit_at_once_lose_nothing(tmp_path: Path, project: Path) -> None:
    def start(first: int, last: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMITTER, str(tmp_path / "store"), str(first), str(last)],
            cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    with start(0, 60) as one, start(40, 100) as two:  # twenty rows are committed by both
        for child in (one, two):
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in (one, two):
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
    assert (one.returncode, two.returncode) == (0, 0)
    store = TeacherStore(tmp_path / "store")
    keys = [f"k{number:04d}" for number in range(100)]
    assert store.read(keys)["caption"].to_pylist() == [f"of {key}" for key in keys]
    assert store.verify(repair=False) == ([], {"parts": 50, "rows": 100, "keys": 100, "model_rows": 100})
    assert not list(store.folder.glob(".*"))
