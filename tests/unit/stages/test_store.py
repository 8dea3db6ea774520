"""`orchestrator store ls|gc|export` and `verify`: functions, and the console script where a user would type it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts import teacher_store
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.store_rows import key_ranges
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError
from orchestrator.stages.store import clean, describe, export
from orchestrator.stages.verify import one_store, stores_below, verify_folder
from tests.smoke_line import PROJECT
from tests.stores import caption, commit, key, keys, record, refuse, rows

DIE = """
import os, sys
from orchestrator.artifacts.teacher_store import TeacherStore
from tests.smoke_line import PROJECT
from tests.stores import record, rows
store = TeacherStore(sys.argv[1])
for numbers in ([50, 51], [60, 61, 62]):
    cost = record(len(numbers), run="killed", place=f"{__import__('socket').gethostname()}:{os.getpid()}")
    root = f"root{numbers[0]}"
    intent = store.intents("killed").begin(root, root, [str(number) for number in numbers])
    if numbers[0] == 50:
        store.commit(rows(numbers), cost)  # paid, but killed before it took the attempt back
        if sys.argv[2] == "after":
            break
        store.intents("killed").end(intent)
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    """Six rows, two refused for good, one to be tried again, in a storage root's place."""
    made = TeacherStore(tmp_path / "runs" / "store" / "captions" / "tiny-12345678")
    commit(made, [0, 1, 2])
    commit(made, [3, 4, 5])
    refuse(made, [6, 7])
    refuse(made, [8, 0], "OSError", transient=True)
    return made


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "orchestrator"), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "40", "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def told(*arguments: object) -> list[dict[str, object]]:
    """The JSON lines of a command that succeeds."""
    done = script(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_store_is_described_by_what_it_holds_now_and_has_cost_so_far(store: TeacherStore) -> None:
    expected = {
        "rows": 6, "refused": 3, "to_be_tried_again": 1, "commits": 4, "done": 6, "forwards": 4.0, "model_rows": 10,
        "open_attempts": 0, "store": str(store.folder),
    }  # fmt: skip
    for _ in range(2):
        found = describe(store)
        assert {name: found[name] for name in expected} == expected
        assert found["files"] == len(store.files())
        compact(store)


def test_stores_are_found_at_and_below_a_folder(store: TeacherStore, tmp_path: Path) -> None:
    other = TeacherStore(tmp_path / "runs" / "store" / "vectors" / "clip")
    commit(other, [1])
    root = tmp_path / "runs"
    for folder in (root, root / "store"):
        assert [str(one.folder) for one in stores_below(str(folder))] == [str(store.folder), str(other.folder)]
    assert one_store(str(root / "store" / "vectors")).keys() == {key(1)}
    with pytest.raises(ArtifactError, match="holds 2 stores") as caught:
        one_store(str(root))
    assert str(other.folder) in caught.value.expected
    with pytest.raises(ArtifactError, match="holds no store"):
        one_store(str(tmp_path / "nothing"))


def test_ls_prints_a_line_of_json_for_each_store_and_for_each_refusal(store: TeacherStore, tmp_path: Path) -> None:
    (about,) = told("store", "ls", tmp_path / "runs", "--json")
    assert (about["rows"], about["refused"], about["model_rows"]) == (6, 3, 10)
    refused = told("store", "ls", store.folder, "--refused", "--json")
    assert {row["key"]: row["path"] for row in refused} == {key(n): f"images/{n}.png" for n in (6, 7, 8)}
    plain = script("store", "ls", tmp_path / "runs")
    assert "6 rows, 3 refused (1 to be tried again)" in plain.stdout
    plain = script("store", "ls", tmp_path / "runs", "--refused")
    assert "images/8.png  OSError: cannot read image 8 (will be tried again)" in plain.stdout
    missing = script("store", "ls", tmp_path / "nothing")
    assert (missing.returncode, "holds no store" in missing.stderr) == (2, True)


# --- cleaning ---------------------------------------------------------------------------------------------------------


def test_gc_compacts_and_forgets_refusals_only_when_asked(store: TeacherStore) -> None:
    digest, files = store.digest(), store.files()
    assert clean(store, forget_refused=True, dry_run=True) == {
        "files_before": 4, "dead_attempts": 0, "refusals_forgotten": 3,
    }  # fmt: skip
    assert store.files() == files
    assert clean(store, forget_refused=False, dry_run=False)["files_after"] == 1
    assert store.digest() == digest
    assert store.missing(keys(range(9))) == keys([8])
    assert clean(store, forget_refused=True, dry_run=False)["refusals_forgotten"] == 3
    assert store.missing(keys(range(9))) == keys([6, 7, 8])
    assert (store.keys(), store.totals()["refused"]) == (set(keys(range(6))), 4)
    assert verify_folder(str(store.folder))[0] == []


def test_gc_of_nothing_but_refusals_leaves_an_empty_store_that_works(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    refuse(store, [1, 2])
    for _ in range(2):
        clean(store, forget_refused=True, dry_run=False)
        assert (store.files(), store.missing(keys([1]))) == ([], keys([1]))
    commit(store, [1])
    assert clean(store, forget_refused=True, dry_run=False)["files_after"] == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_gc_counts_what_a_killed_process_lost_and_not_what_it_had_committed(
    store: TeacherStore, project: Path, when: str
) -> None:
    killed = subprocess.run([sys.executable, "-c", DIE, str(store.folder), when], cwd=project, check=False)
    assert (killed.returncode, len(store.intents("").all())) == (9, 1) if when == "before" else (0, 1)
    lost = 3 if when == "before" else 0
    for _ in range(2):
        clean(store, forget_refused=False, dry_run=False)
        totals = store.totals()
        assert (totals["lost_rows"], totals["lost_attempts"], totals["model_rows"]) == (lost, lost // 3, 12)
        assert store.intents("").all() == []


def test_gc_leaves_what_a_living_process_is_writing(store: TeacherStore) -> None:
    mine = store.intents("mine").begin("a", "a", ["a"])
    assert store.part_files.local is not None
    half = store.part_files.local / ".x.parquet.123.tmp"
    half.write_bytes(b"half")
    told_ = clean(store, forget_refused=False, dry_run=False)
    assert (told_["leftovers"], told_["dead_attempts"]) == (0, 0)
    assert half.exists()
    assert store.intents("").all() == [mine]


def test_the_console_script_tells_what_gc_did_as_json(store: TeacherStore, tmp_path: Path) -> None:
    (would,) = told("store", "gc", tmp_path / "runs", "--refused", "--dry-run", "--json")
    (did,) = told("store", "gc", tmp_path / "runs", "--refused", "--json")
    assert (would["dry_run"], would["files_before"], would["refusals_forgotten"]) == (True, 4, 3)
    assert (did["dry_run"], did["files_before"], did["files_after"], did["refusals_forgotten"]) == (False, 4, 1, 3)
    assert did["store"] == str(store.folder)


def test_gc_of_no_store_is_an_error(tmp_path: Path) -> None:
    done = script("store", "gc", tmp_path)
    assert (done.returncode, "holds no store" in done.stderr) == (2, True)


# --- exporting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 7])
def test_rows_are_exported_in_the_order_of_their_keys(
    store: TeacherStore, tmp_path: Path, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_store, "key_ranges", lambda num_bytes: key_ranges(num_bytes, num_bytes // pieces))
    numbers = sorted(range(6), key=key)
    vectors = rows(numbers)["vector"].to_pylist()
    expected = [
        {"key": key(number), "caption": caption(number), "vector": vector}
        for number, vector in zip(numbers, vectors, strict=True)
    ]
    assert export(store, tmp_path / "new" / "rows.parquet") == 6
    assert pq.read_table(tmp_path / "new" / "rows.parquet").to_pylist() == expected
    assert export(store, tmp_path / "rows.jsonl") == 6
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == expected
    assert export(store, tmp_path / "rows.csv", ["caption", "key"]) == 6
    with (tmp_path / "rows.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"key": row["key"], "caption": row["caption"]} for row in expected]


def test_what_cannot_be_exported_is_told_and_leaves_no_file(store: TeacherStore, tmp_path: Path) -> None:
    for target, columns, text in (
        ("rows.xlsx", [], "unknown format"),
        ("rows.csv", [], "cannot hold the vectors in vector"),
        ("rows.jsonl", ["caption", "colour"], "no column colour"),
    ):
        with pytest.raises(ArtifactError, match=text):
            export(store, tmp_path / target, columns)
        with pytest.raises(ArtifactError, match=text):
            export(store, tmp_path / target, columns, dry_run=True)
    with pytest.raises(ArtifactError, match="holds no rows"):
        export(TeacherStore(tmp_path / "none"), tmp_path / "rows.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_console_script_exports_the_only_store_below_a_folder(store: TeacherStore, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    export_it = ("store", "export", tmp_path / "runs", rows, "--columns", "caption")
    done = script(*export_it, "--dry-run")
    assert (done.returncode, done.stdout, rows.exists()) == (0, f"6 rows would go to {rows}\n", False)
    done = script(*export_it, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"rows": 6, "file": str(rows), "dry_run": False})
    first = json.loads(rows.read_text().splitlines()[0])
    assert list(first) == ["key", "caption"]


# --- verifying --------------------------------------------------------------------------------------------------------


def test_verify_finds_repairs_and_then_finds_nothing(store: TeacherStore, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert verify_folder(str(root)) == (
        [],
        {"artifacts": 0, "stores": 1, "rows": 6, "refused": 3, "model_rows": 10, "lost_rows": 0, "made_again": 0},
    )
    name = store.part_files.names()[0]
    store.part_files.write(name, b"damaged")
    found = script("verify", root, "--json")
    assert found.returncode == 1
    (problem,) = json.loads(found.stdout)["problems"]
    assert f"parts/{name}: unreadable" in problem
    assert script("verify", root, "--repair").returncode == 0
    again = script("verify", root)
    assert (again.returncode, "0 problems" in again.stdout) == (0, True)
    nothing = script("verify", tmp_path / "nothing")
    assert (nothing.returncode, "holds no artifact and no store" in nothing.stderr) == (2, True)


def test_verify_counts_records_without_rows(store: TeacherStore) -> None:
    store.commit_nothing(record(run="gc", forwards=0.0, lost_attempts=1, lost_rows=4))
    assert verify_folder(str(store.folder))[1]["lost_rows"] == 4


# --- on an object store -----------------------------------------------------------------------------------------------


def test_a_store_on_s3_is_shown_verified_cleaned_and_exported_like_a_local_one(s3_uri: str, tmp_path: Path) -> None:
    store = TeacherStore(s3_uri)
    commit(store, [0, 1, 2])
    commit(store, [3, 4, 5])
    refuse(store, [6])
    above = s3_uri.replace("/stores/captions?", "?")
    (about,) = told("store", "ls", above, "--json")
    assert (about["rows"], about["refused"], about["files"], about["model_rows"]) == (6, 1, 3, 7)
    assert about["store"] == s3_uri.partition("?")[0]
    (refused,) = told("store", "ls", s3_uri, "--refused", "--json")
    assert refused["path"] == "images/6.png"
    commands = [
        ("verify", above), ("store", "gc", above), ("verify", above), ("store", "ls", above),
        ("store", "export", above, str(tmp_path / "rows.parquet")), ("store", "gc", above, "--refused"),
    ]  # fmt: skip
    for command in commands:
        done = script(*command)
        assert done.returncode == 0, done.stderr
        for hidden in (os.environ["AWS_SECRET_ACCESS_KEY"], "endpoint_override"):
            assert hidden not in done.stdout + done.stderr
    assert pq.read_table(tmp_path / "rows.parquet")["caption"].to_pylist() == [
        caption(number) for number in sorted(range(6), key=key)
    ]
    assert (len(store.files()), store.missing(keys(range(8)))) == (1, keys([6, 7]))


def test_a_damaged_object_is_repaired_and_an_unreachable_store_is_told(s3_uri: str, tmp_path: Path) -> None:
    store = TeacherStore(s3_uri)
    names = [commit(store, [0, 1, 2]), commit(store, [3, 4, 5])]
    store.part_files.write(names[0], store.part_files.read(names[0])[:-30])
    assert script("verify", s3_uri).returncode == 1
    assert script("verify", s3_uri, "--repair").returncode == 0
    assert script("verify", s3_uri).returncode == 0
    assert store.missing(keys(range(6))) == keys([0, 1, 2])
    address = s3_uri.partition("endpoint_override=")[2].partition("&")[0]
    done = script("store", "ls", s3_uri.replace(address, "127.0.0.1:1"))
    assert done.returncode == 2
    assert "cannot be listed" in done.stderr
    assert "remedy" in done.stderr
