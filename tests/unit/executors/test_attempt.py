"""Of attempts that have a row in common one waits, however late a file lands; who waits or works is known to live."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.artifacts.file_systems import unreachable
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intent, Intents
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError
from orchestrator.executors import attempt as attempt_module
from orchestrator.executors.attempt import EXIT_TIMED_OUT, Attempt
from orchestrator.executors.pay_once import PayOnce
from tests.smoke_line import PROJECT
from tests.unit.executors.faulty import Faulty, items


class Late(Folder):
    """A folder to which files come late, as to an object store with slow answers."""

    def write(self, name, data, *, durable=True):  # type: ignore[no-untyped-def]
        time.sleep(random.uniform(0.0, 0.02))
        super().write(name, data, durable=durable)
        time.sleep(random.uniform(0.0, 0.02))


class Away(Folder):
    """A folder that cannot be written to."""

    def write(self, name, data, *, durable=True):  # type: ignore[no-untyped-def]
        raise unreachable(self, "written to", OSError("SLOW_DOWN"))


def nobody(intent: Intent) -> None:
    raise AssertionError(f"{intent.name} was not lost")


def attempt_of(intents: Intents, keys: str, root: str = "", timeout_s: float | None = None) -> Attempt:
    return Attempt(intents, root or keys, root or keys, list(keys), timeout_s, nobody)


def in_threads(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_row_is_at_work_twice_whatever_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "_LONGEST_PAUSE_S", 0.05)
    at_work: list[str] = []
    taken: list[str] = []

    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            drawn = random.Random(number)
            intents = Intents(Late(str(tmp_path)), f"run{number}")
            for _ in range(12):
                keys = "".join(sorted(drawn.sample("abcdef", 3)))
                with attempt_of(intents, keys) as attempt:
                    attempt.wait_for_turn()
                    taken.extend(key for key in keys if key in at_work)
                    at_work.extend(keys)
                    time.sleep(drawn.uniform(0.0, 0.01))
                    for key in keys:
                        at_work.remove(key)

        return run

    in_threads(*(work(number) for number in range(4)))
    assert taken == []
    assert list(tmp_path.iterdir()) == []


def test_an_intent_that_is_written_before_and_lands_after_another_ones_look_waits(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    asked: list[str] = []

    class Slow(Faulty):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def compute(self, asked_for):  # type: ignore[no-untyped-def]
            asked.append(self.name)
            looked.set()
            time.sleep(0.2)
            return super().compute(asked_for)

    looked = threading.Event()
    first, second = (PayOnce(TeacherStore(store.folder), name * 8, (), Slow(name), None) for name in "ab")
    other = threading.Thread(target=lambda: second(items("x", "y")))

    class Held(Folder):
        def write(self, name, data, *, durable=True):  # type: ignore[no-untyped-def]
            if not other.ident:
                other.start()
                looked.wait()
            super().write(name, data, durable=durable)

    first._intents._folder = Held(first._intents._folder.uri)
    first(items("x", "y"))
    other.join()
    assert asked == ["b"]
    assert (store.paid_twice(), store.totals()["done"]) == ({}, 2)


LOCKSTEP = """
import sys, time
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.executors.pay_once import PayOnce
from tests.unit.executors.faulty import Faulty, items
from tests.unit.executors.test_attempt import Late
class Slow(Faulty):
    def compute(self, asked):
        time.sleep(0.03)
        return super().compute(asked)
pay = PayOnce(TeacherStore(sys.argv[1]), sys.argv[2], (), Slow(), None)
pay._intents._folder = Late(pay._intents._folder.uri)
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    pay(items(*[f"{letter}{number:03}" for letter in "abcd"]))
"""


def test_two_processes_over_the_same_micro_batches_pay_for_none_twice(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    children = [
        subprocess.Popen([sys.executable, "-c", LOCKSTEP, store.folder.uri, f"run{number}xxxx"], cwd=PROJECT,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("go\n")
    assert [child.returncode for child in children] == [0, 0]
    totals = store.totals()
    assert (totals["done"], totals["model_rows"], len(store.keys()), store.paid_twice()) == (100, 100, 100, {})


def test_who_waits_is_waited_for_however_long_and_renewed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "RENEW_S", 0.05)
    monkeypatch.setattr(attempt_module, "_MARGIN_S", 0.0)
    order: list[str] = []
    renewed: list[float] = []

    def work(name: str, keys: str, begins_s: float, seconds: float) -> Callable[[], None]:
        def run() -> None:
            time.sleep(begins_s)
            intents = Intents(Folder(str(tmp_path)), name)
            with attempt_of(intents, keys, timeout_s=1.0) as attempt:
                attempt.wait_for_turn()
                order.append(name)
                time.sleep(seconds)

        return run

    def watch() -> None:
        intents = Intents(Folder(str(tmp_path)), "watch")
        while len(order) < 3:
            renewed.extend(one.renewed_s for one in intents.all() if one.run == "second" and one.waits)
            time.sleep(0.05)

    # The third waits longer than anybody may be at work, since the one before it has waited itself.
    in_threads(work("first", "a", 0, 0.8), work("second", "ab", 0.2, 0.8), work("third", "b", 0.4, 0), watch)
    assert order == ["first", "second", "third"]
    assert len(set(renewed)) > 1


def test_who_is_at_work_for_longer_than_it_may_is_waited_for_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "_MARGIN_S", 0.1)
    stuck = Intents(Folder(str(tmp_path)), "stuck")
    with attempt_of(stuck, "ab", timeout_s=0.1):
        with attempt_of(Intents(Folder(str(tmp_path)), "other"), "bc") as attempt:
            attempt.wait_for_turn()
            assert attempt.intent.ticket == 1, "it has seen the other"
        assert [one.run for one in stuck.all()] == ["stuck"]


def test_a_process_does_not_wait_for_itself_where_its_intent_could_not_be_deleted(tmp_path: Path) -> None:
    class Stuck(Folder):
        def delete(self, name: str) -> None:
            raise unreachable(self, "cleared", OSError("SLOW_DOWN"))

    intents = Intents(Stuck(str(tmp_path)), "run")
    with pytest.raises(ArtifactError), attempt_of(intents, "ab"):
        pass
    (left,) = intents.all()
    assert intents.is_dead(left)


def test_a_storage_that_is_away_ends_neither_the_watch_nor_the_time_out(tmp_path: Path) -> None:
    code = """
import sys, time
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intents
from orchestrator.executors import attempt as module
from tests.unit.executors.test_attempt import Away, attempt_of
module.RENEW_S = 0.02
intents = Intents(Folder(sys.argv[1]), "run")
with attempt_of(intents, "ab", timeout_s=0.5) as attempt:
    intents._folder = Away(sys.argv[1])
    with attempt.at_work(1.0):
        time.sleep(600)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, check=False, timeout=300)
    assert ended.returncode == EXIT_TIMED_OUT
    (left,) = Intents(Folder(str(tmp_path)), "another").all()
    assert Intents(Folder(str(tmp_path)), "another").is_dead(left)


def test_what_was_paid_for_and_could_not_be_kept_is_counted_as_lost_and_what_was_not_paid_for_is_not(
    tmp_path: Path,
) -> None:
    intents = Intents(Folder(str(tmp_path)), "run")
    lost: list[str] = []
    for paid in (True, False):
        try:
            with Attempt(intents, "r", "r", ["a"], None, lambda one: lost.append(json.dumps(one.keys))) as attempt:
                if paid:
                    with attempt.at_work(1.0):
                        raise KeyboardInterrupt
                raise ArtifactError("no turn")
        except (KeyboardInterrupt, ArtifactError):
            continue
    assert lost == ['["a"]']
    (left,) = intents.all()
    assert intents.is_dead(left)
