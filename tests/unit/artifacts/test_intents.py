"""Intents: what a dead process was at, told from what is in flight, and from what it had committed."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

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
        assert not intents["root"].is_dead("mine")
        assert intents["root"].is_dead("other run"), "within one run a micro-batch is in one place at a time"
        assert intents["half"].is_dead("mine"), "it ran out of time and ends itself"
        child.kill()
        while not intents["root"].is_dead("mine"):  # a zombie by now, or gone soon
            time.sleep(0.01)
    assert intents["root"].is_dead("mine")


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    intents = Intents(Folder(str(tmp_path)), "run")
    intent = intents.begin("a", "a", keys(1))
    assert not intent.is_dead("another")
    long_ago = type(intent)(**{**intent.__dict__, "started_s": intent.started_s - 1e6})
    assert long_ago.is_dead("another"), "this process began after that attempt"
    elsewhere = type(intent)(**{**intent.__dict__, "host": "elsewhere", "pid": 1})
    assert not elsewhere.is_dead("another"), "of another host nothing is known at first"
    assert type(intent)(**{**elsewhere.__dict__, "started_s": time.time() - 1e5}).is_dead("another")


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


def test_the_later_of_two_runs_with_a_row_in_common_sees_its_rival_and_not_the_other_way_round(folder: Folder) -> None:
    ours, theirs = Intents(folder, "ours"), Intents(folder, "theirs")
    first = ours.begin("a", "a", ["1", "2"])
    second = theirs.begin("b", "b", ["2", "3"])
    apart = theirs.begin("c", "c", ["4"])
    assert (ours.rivals(first), theirs.rivals(second), theirs.rivals(apart)) == ([], [first], [])
    ours.end(first)
    assert theirs.rivals(second) == []


def test_an_attempt_on_another_host_lives_as_long_as_it_is_renewed() -> None:
    now_s = time.time()
    lately = Intent("id", "a", "a", 1, "theirs", "elsewhere", 1, now_s - 30, keys=("1",))
    old = replace(lately, started_s=now_s - 3600)
    assert [intent.is_dead("ours") for intent in (lately, old, replace(old, renewed_s=now_s - 20))] == [
        False,
        True,
        False,
    ]


def test_a_renewed_attempt_is_one_attempt_and_ends(folder: Folder) -> None:
    intents = Intents(folder, "run")
    intent = intents.begin("a", "a", ["1"])
    intents.renew(intent)
    (renewed,) = intents.all()
    assert (renewed.id, renewed.keys) == (intent.id, ("1",))
    assert renewed.renewed_s >= intent.started_s
    intents.end(intent)
    assert intents.all() == []
