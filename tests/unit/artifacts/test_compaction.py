"""Compaction keeps the union of rows and records: killed anywhere, beside commits, readers and other compactions."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts import compaction
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.store_rows import key_ranges
from orchestrator.artifacts.teacher_store import TeacherStore
from tests.store_process import MAX_SMALL_SEGMENTS
from tests.stores import commit, keys, refuse


def start(project: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.store_process", *map(str, arguments)]
    return subprocess.Popen(command, cwd=project)


def build(store: TeacherStore, num_segments: int, num_parts: int) -> None:
    """Segments (each compacted by itself) and parts, with rows paid twice, refused and lifted."""
    number = 0
    for is_part in [False] * num_segments + [True] * num_parts:
        commit(store, [number, number + 1, number + 2])  # the next one makes the last of them again
        refuse(store, [1000 + number, 1001 + number], transient=number % 4 == 0)
        if number % 6 == 0:
            commit(store, [1001 + number])
        number += 2
        if not is_part:
            compact(store)


def content(store: TeacherStore) -> tuple[str, dict[str, float], set[str], list[str]]:
    return store.digest(), store.totals(), store.keys(), sorted(store.refused()["key"].to_pylist())


@pytest.mark.parametrize("everything", [False, True])
def test_a_compaction_killed_before_any_of_its_file_operations_loses_nothing(
    tmp_path: Path, project: Path, everything: bool
) -> None:
    base = TeacherStore(tmp_path / "base")
    build(base, num_segments=MAX_SMALL_SEGMENTS, num_parts=2)  # so many that segments and ledger are merged as well
    expected, operations = content(base), len(base.part_files.names()) + 2 * MAX_SMALL_SEGMENTS + 4
    assert start(project, "die", tmp_path, everything).wait() == 0
    for number in range(operations + 1):
        store = TeacherStore(tmp_path / str(number))
        assert content(store) == expected, number
        compact(store, everything=True)
        assert content(store) == expected, number
        assert verify_store(store, repair=False)[0] == [], number
    assert not (tmp_path / str(operations + 1)).exists()


def test_after_compacting_everything_keys_are_in_order_and_once(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    build(store, num_segments=3, num_parts=4)
    compact(store, everything=True)
    assert store.num_parts() == 0
    (name,) = store.segment_files.names()
    found = store.segment_files.parquet(name, pq.ParquetFile.read)["key"].to_pylist()
    assert found == sorted(set(found))
    assert compact(store, everything=True) == 0
    assert store.segment_files.names() == [name]


def test_large_stores_are_cut_into_segments_of_a_bounded_size_that_are_not_merged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TeacherStore(tmp_path / "store")
    for number in range(0, 4000, 200):
        commit(store, range(number, number + 220))
        compact(store)
    expected, size = content(store), sum(store.segment_files.sizes().values())
    monkeypatch.setattr(compaction, "key_ranges", lambda num_bytes: key_ranges(num_bytes, size // 5))
    monkeypatch.setattr(compaction, "SMALL_BYTES", size // 20)
    compact(store, everything=True)
    names = store.segment_files.names()
    assert len(names) in (5, 6)
    assert content(store) == expected
    ranges = []
    for name in names:
        found = store.segment_files.parquet(name, pq.ParquetFile.read)["key"].to_pylist()
        assert found == sorted(found)
        ranges.append((found[0], found[-1]))
    ranges.sort()
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    commit(store, [5000])
    compact(store)
    assert set(names) < set(store.segment_files.names())
    assert compact(store, everything=True) == len(names) + 1


def test_a_reader_sees_every_row_and_record_while_two_processes_compact(tmp_path: Path, project: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    build(store, num_segments=4, num_parts=30)
    digest, totals, _, _ = content(store)
    children = [start(project, "compact", store.folder, 4) for _ in range(2)]
    looks = 0
    while any(child.poll() is None for child in children):
        refuse(store, [9000 + looks], transient=True)  # work for them; not part of the content
        looks += 1
        assert store.digest() == digest
        assert store.totals()["model_rows"] == totals["model_rows"] + looks
    assert [child.wait() for child in children] == [0, 0]
    assert looks > 3
    compact(store, everything=True)
    assert verify_store(store, repair=False)[0] == []


def test_copies_that_compactions_leave_when_they_overtake_each_other_are_no_rows_paid_twice(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    build(store, num_segments=0, num_parts=6)
    paid, digest, rows = store.paid_twice(), store.digest(), verify_store(store, repair=False)

    class Overtaken(Folder):
        """Has found its inputs still there; before it deletes them, another compaction has."""

        def delete_all(self, names: Iterable[str]) -> None:
            compact(TeacherStore(store.folder))
            super().delete_all(names)

    late = TeacherStore(store.folder)
    late.part_files = Overtaken(store.part_files.uri)
    compact(late)
    first, second = (store.segment_files.parquet(name, pq.ParquetFile.read) for name in store.segment_files.names())
    assert first.equals(second)
    assert (store.paid_twice(), store.digest()) == ({}, digest)
    assert paid, "what was paid twice before both compactions is kept once by each"
    problems, counts = verify_store(store, repair=False)
    assert problems == []
    assert counts == {**rows[1], "files": 2}
    commit(store, range(3))
    assert set(store.paid_twice()) == set(keys(range(3)))
    (told,), _ = verify_store(store, repair=False)
    assert ": 3 keys also in segments/" in told
    compact(store, everything=True)
    assert (len(store.files()), store.digest()) == (1, digest)


def test_verify_beside_compactions_finds_nothing_wrong(tmp_path: Path, project: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    commit(store, range(1000))
    child = start(project, "compact", store.folder, 4)
    looks = 0
    while child.poll() is None:
        for _ in range(3):
            commit(store, [2000 + looks])
            looks += 1
        problems, counts = verify_store(store, repair=False)
        assert problems == []
        assert counts["rows"] == 1000 + looks
    assert (child.wait(), looks > 3) == (0, True)


def lines(log: Path, word: str) -> set[str]:
    return {line.split()[1] for line in log.read_text().splitlines() if line.startswith(word)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_committers_and_compactors_killed_at_random_moments_lose_nothing(
    tmp_path: Path, project: Path, seed: int
) -> None:
    draw = random.Random(seed)
    folder, log = tmp_path / "store", tmp_path / "log"
    log.touch()
    jobs = {
        "one": ("commit", folder, log, 0, 400, 4),
        "two": ("commit", folder, log, 300, 700, 4),  # a hundred rows are wanted by both
        "three": ("compact", folder, 3600),
        "four": ("compact", folder, 3600),
    }
    running = {name: start(project, *job) for name, job in jobs.items()}
    kills = 0
    try:
        deadline = time.monotonic() + 120
        while kills < 14:
            assert time.monotonic() < deadline
            time.sleep(draw.uniform(0.1, 1.2))
            name = draw.choice(list(jobs))
            running[name].kill()
            running[name].wait()
            kills += 1
            running[name] = start(project, *jobs[name])  # the same command
        for name in ("one", "two"):
            assert running[name].wait(timeout=120) == 0
    finally:
        for child in running.values():
            child.kill()
            child.wait()
    store, whole = TeacherStore(folder), TeacherStore(tmp_path / "undisturbed")
    commit(whole, range(700))
    assert store.keys() == set(keys(range(700)))
    assert store.digest() == whole.digest()
    ids = set(store.ledger()["id"].to_pylist())
    assert lines(log, "end") <= ids <= lines(log, "begin")
    assert store.totals()["forwards"] == len(ids)
    compact(store, everything=True)
    assert store.digest() == whole.digest()
    assert set(store.ledger()["id"].to_pylist()) == ids
    assert verify_store(store, repair=False)[0] == []


def test_compactions_at_once_on_an_object_store_lose_nothing(tmp_path: Path, project: Path, s3_uri: str) -> None:
    store, log = TeacherStore(s3_uri), tmp_path / "log"
    build(store, num_segments=2, num_parts=8)
    children = [start(project, "compact", s3_uri, 5), start(project, "compact", s3_uri, 5)]
    children += [start(project, "commit", s3_uri, log, 5000, 5060, 5)]
    before = store.keys()
    while any(child.poll() is None for child in children):
        assert before <= store.keys()
    for child in children:
        assert child.wait() == 0
    undisturbed = TeacherStore(tmp_path / "undisturbed")
    build(undisturbed, num_segments=2, num_parts=8)
    commit(undisturbed, range(5000, 5060))
    assert store.digest() == undisturbed.digest()
    assert store.totals()["model_rows"] == undisturbed.totals()["model_rows"]
    compact(store, everything=True)
    assert store.digest() == undisturbed.digest()
    assert verify_store(store, repair=True)[0] == []
    assert len(store.segment_files.names()) == 1
