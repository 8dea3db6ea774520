"""Intents: what a dead process was at, told from what is in flight, and from what it had committed."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.artifacts import intents as intents_module
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intent, Intents, committed
from orchestrator.artifacts.ledger import ledger_table
from tests.stores import record

BEGIN = """
import sys
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intents
intents = Intents(Folder(sys.argv[1]), sys.argv[2])
one, two = (intents.begin("root", part, [str(n) for n in range(count)]) for part, count in (("root", 8), ("half", 4)))
intents.time_out(two)
print("ready", flush=True)
sys.stdin.readline()
"""


def keys(count: int) -> list[str]:
    return [f"key{number}" for number in range(count)]


@pytest.fixture(params=["path", "s3://", "gs://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    is_local = request.param == "path"
    return Folder(str(tmp_path / "intents") if is_local else request.getfixturevalue(f"{request.param[:2]}_uri"))


def test_an_attempt_is_told_until_it_ends(folder: Folder) -> None:
    intents = Intents(folder, "run")
    one, two = intents.begin("a", "a", keys(8)), intents.begin("b", "b1", keys(3))
    assert intents.of("a") == [one]
    assert sorted(intents.all(), key=lambda intent: intent.root) == [one, two]
    assert (one.num_rows, one.host, one.pid, one.run) == (8, socket.gethostname(), os.getpid(), "run")
    intents.end(one)
    intents.end(one)
    assert (intents.of("a"), intents.all()) == ([], [two])
    intents.time_out(two)
    (marked,) = intents.all()
    assert marked.timed_out
    intents.end(marked)
    assert folder.names() == []


def test_a_process_that_was_killed_is_dead_and_one_that_works_is_not(tmp_path: Path, project: Path) -> None:
    folder = Folder(str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(tmp_path), "other run"], cwd=project, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        intents = {intent.part: intent for intent in Intents(folder, "mine").all()}
        looks = [Intents(folder, run) for run in ("mine", "other run")]
        assert not any(look.is_dead(intents["root"]) for look in looks), (
            "nor when a run's own engine tried it elsewhere"
        )
        assert all(look.is_dead(intents["half"]) for look in looks), "it ran out of time and ends itself"
        child.kill()
        while not looks[0].is_dead(intents["root"]):  # a zombie by now, or gone soon
            time.sleep(0.01)
    assert all(look.is_dead(intents["root"]) for look in looks)


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    intents = Intents(Folder(str(tmp_path)), "run")
    intent = intents.begin("a", "a", keys(1))
    assert not intents.is_dead(intent)
    parent = replace(intent, pid=os.getppid())
    assert not intents.is_dead(replace(parent, started_s=time.time()))
    assert intents.is_dead(replace(parent, started_s=intent.started_s - 1e6)), "that process began after the attempt"
    intents.leave(intent)
    assert intents.is_dead(intent), "its process lives, but has left it"


def test_files_that_power_failure_cut_off_are_passed_over_and_removed(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    intents = Intents(folder, "run")
    intent = intents.begin("a", "a", keys(1))
    for name, text in {"a-a-1.json": b"", "a-a-2.json": b"{}", "a-a-3.json": b"[1]", "a-a-4.timed-out": b""}.items():
        folder.write(name, text)
    assert intents.all() == intents.of("a") == [intent]
    assert intents.remove_unreadable() == 4
    assert folder.names() == [f"{intent.name}.json"]


def test_an_attempt_whose_process_committed_after_it_began_was_not_lost(tmp_path: Path) -> None:
    intent = Intents(Folder(str(tmp_path)), "run").begin("a", "a", keys(1))
    place = f"{intent.host}:{intent.pid}"

    def ledger(**more: object) -> set[str]:
        fields = {"run": "run", "place": place, "committed_us": int(intent.started_s * 1e6) + 5, **more}
        return committed([intent], ledger_table([record(1, **fields)]))

    assert ledger() == {intent.id}
    assert ledger(committed_us=int(intent.started_s * 1e6) - 5) == set()
    assert ledger(run="another") == set()
    assert ledger(place="elsewhere:1") == set()
    assert committed([], ledger_table([])) == set()


def test_others_with_a_row_in_common_are_told_and_of_the_same_run_only_another_try_of_the_micro_batch(
    folder: Folder,
) -> None:
    ours, theirs, again = Intents(folder, "ours"), Intents(folder, "theirs"), Intents(folder, "ours")
    first = ours.begin("a", "a", ["1", "2"])
    second = theirs.begin("b", "b", ["2", "3"])
    apart = theirs.begin("c", "c", ["4"])
    retried = again.begin("a", "a", ["1", "2"])
    ours.begin("d", "d", ["2"])  # cannot be: a run has each row in one micro-batch
    assert {one.id for one in ours.others(first)} == {second.id, retried.id}
    assert {one.id for one in again.others(retried)} == {first.id, second.id}
    assert theirs.others(apart) == []
    assert [first.id in {one.id for one in theirs.others(second)} for _ in range(2)] == [True, True]
    ours.end(first)
    assert first.id not in {one.id for one in theirs.others(second)}


def test_who_has_no_ticket_yet_or_a_smaller_one_is_before_and_equal_ones_are_told_apart() -> None:
    fresh = Intent("x", "a", "a", 1, "run", "host", 1, 0.0)
    one, same, two = (replace(fresh, id=name, ticket=n) for name, n in (("a", 1), ("b", 1), ("c", 2)))
    assert [other.is_before(one) for other in (fresh, same, two)] == [True, False, False]
    assert [other.is_before(same) for other in (fresh, one, two)] == [True, True, False]


def test_an_attempt_on_another_machine_lives_as_long_as_it_changes_whatever_its_clock_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(intents_module, "FOREIGN_LIFE_S", 0.05)
    intents = Intents(Folder(str(tmp_path)), "ours")
    now_s = time.time()
    for ahead_s in (0.0, 300.0, -300.0):
        one = Intent(f"id{ahead_s}", "a", "a", 1, "theirs", socket.gethostname(), 1, 0.0, keys=("1",),
                     machine="another", renewed_s=now_s + ahead_s)  # fmt: skip
        for _ in range(4):
            assert not intents.is_dead(one)
            time.sleep(0.03)
            one = replace(one, renewed_s=one.renewed_s + 0.01)
        assert not intents.is_dead(one)
        time.sleep(0.06)
        assert intents.is_dead(one)
    assert intents.is_dead(replace(one, id="old", renewed_s=now_s - 3600)), "at the first look"


def test_a_renewed_attempt_is_one_attempt_and_ends(folder: Folder) -> None:
    intents = Intents(folder, "run")
    intent = intents.begin("a", "a", ["1"])
    intents.write(replace(intent, renewed_s=intent.renewed_s + 1, ticket=3))
    (renewed,) = intents.all()
    assert (renewed.id, renewed.keys, renewed.ticket) == (intent.id, ("1",), 3)
    intents.end(intent)
    assert intents.all() == []
