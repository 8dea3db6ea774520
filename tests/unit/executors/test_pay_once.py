"""Each row is paid once: rows that misbehave cost only themselves, whatever they do to their process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.artifacts import teacher_store
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.file_systems import unreachable
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.executors.attempt import EXIT_TIMED_OUT
from orchestrator.executors.pay_once import PayOnce
from tests.smoke_line import PROJECT
from tests.unit.executors.faulty import Faulty, items, key

GOOD = [f"good{number}" for number in range(7)]


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    return TeacherStore(tmp_path / "store")


def payer(store: TeacherStore, run: str = "run1", function: Faulty | None = None) -> PayOnce:
    return PayOnce(store, run, (), function or Faulty(), None)


def receipt(pay: PayOnce, *names: str, questions: int = 1) -> tuple[int, int, int]:
    """(done, refused, reused) of a micro-batch."""
    (told,) = pay(items(*names, questions=questions)).to_pylist()
    return told["done"], told["refused"], told["reused"]


def answers(store: TeacherStore, *names: str) -> list[str]:
    return list(store.read([key(name) for name in names], ["answer"])["answer"].to_pylist())


def reasons(store: TeacherStore) -> dict[str, tuple[str, bool]]:
    return {row["key"]: (row["error_class"], row["transient"]) for row in store.refused().to_pylist()}


def test_a_micro_batch_is_one_commit_with_what_it_cost_and_leaves_no_intent(store: TeacherStore) -> None:
    assert receipt(payer(store), "a", "b", questions=3) == (6, 0, 0)
    totals = store.totals()
    assert (totals["commits"], totals["done"], totals["forwards"], totals["model_rows"]) == (1, 6, 1, 6)
    assert store.read([key("b", 2), key("a", 0)], ["answer"])["answer"].to_pylist() == ["B 2", "A 0"]
    assert store.intents("").all() == []


def test_what_is_there_by_now_is_not_paid_again_by_a_retry_another_run_or_after_compaction(store: TeacherStore) -> None:
    function = Faulty()
    pay = payer(store, function=function)
    pay(items(*GOOD))
    assert receipt(pay, *GOOD) == (0, 0, 7)
    assert receipt(payer(store, "run2"), *GOOD) == (0, 0, 7)
    late = payer(store, "run3")
    compact(store)
    assert receipt(late, "new", *GOOD) == (1, 0, 7)
    assert function.usage.counts["forwards"] == 1
    assert store.totals()["model_rows"] == 8


@pytest.mark.parametrize("fault", ["damaged", "raises", "refused"])
def test_a_bad_row_costs_itself_for_good_and_no_other(store: TeacherStore, fault: str) -> None:
    names = [*GOOD[:3], fault, *GOOD[3:]]
    assert receipt(payer(store), *names) == (7, 1, 0)
    assert answers(store, *GOOD) == [f"{name.upper()} 0" for name in GOOD]
    wanted = {"damaged": "ValueError", "raises": "KeyError", "refused": "Filtered"}[fault]
    assert reasons(store) == {key(fault): (wanted, False)}
    assert store.missing([key(name) for name in names]) == []
    assert verify_store(store, repair=False)[0] == []


@pytest.mark.parametrize(
    ("fault", "wanted"), [("unreadable", "FileNotFoundError"), ("busy", "Busy"), ("greedy", "OutOfMemory")]
)
def test_a_row_that_may_succeed_later_counts_as_missing(store: TeacherStore, fault: str, wanted: str) -> None:
    names = [fault, *GOOD]
    assert receipt(payer(store), *names) == (7, 1, 0)
    assert reasons(store) == {key(fault): (wanted, True)}
    assert store.missing([key(name) for name in names]) == [key(fault)]


def test_of_an_image_with_several_questions_only_the_bad_one_is_lost(store: TeacherStore) -> None:
    class OneBadQuestion(Faulty):
        def compute(self, asked):  # type: ignore[no-untyped-def]
            if any(2 in row["positions"] for row, _ in asked):
                raise RuntimeError("the third question")
            return super().compute(asked)

    assert receipt(payer(store, function=OneBadQuestion()), "a", "b", questions=4) == (6, 2, 0)
    assert set(reasons(store)) == {key("a", 2), key("b", 2)}
    assert store.read([key("b", 3)], ["answer"])["answer"].to_pylist() == ["B 3"]


def test_when_memory_runs_out_the_micro_batch_is_halved_and_later_ones_begin_small(store: TeacherStore) -> None:
    function = Faulty(room=3)
    pay = payer(store, function=function)
    assert receipt(pay, *GOOD) == (7, 0, 0)
    first = function.usage.counts["forwards"]
    pay(items(*[f"{name}!" for name in GOOD]))
    assert function.usage.counts["forwards"] - first == 3  # 3, 3 and 1, none refused
    assert store.totals()["commits"] == 2  # however many calls, a micro-batch is one commit
    assert answers(store, *GOOD) == [f"{name.upper()} 0" for name in GOOD]


def test_an_error_that_concerns_every_row_ends_the_run_and_loses_nothing(store: TeacherStore) -> None:
    pay = payer(store)
    pay(items("a"))
    with pytest.raises(ConfigError, match="account is closed"):
        pay(items("b", "account"))
    assert store.missing([key("a"), key("b")]) == [key("b")]
    assert store.intents("").all() == []


class Moody(Folder):
    """A folder to which some writes fail."""

    fails = 0

    def write(self, name, data, *, durable=True):  # type: ignore[no-untyped-def]
        if Moody.fails:
            Moody.fails -= 1
            raise unreachable(self, "written to", OSError("AWS Error SLOW_DOWN"))
        super().write(name, data, durable=durable)


def test_a_commit_that_fails_is_tried_again_and_then_told_as_lost(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_store, "_PAUSES_S", (0.0, 0.0, 0.0))
    pay = payer(store)
    pay._store.part_files = Moody(pay._store.part_files.uri)
    Moody.fails = 3
    assert receipt(pay, "a", "b") == (2, 0, 0)
    assert (store.totals()["commits"], store.totals()["model_rows"]) == (1, 2)
    Moody.fails = 4
    with pytest.raises(ArtifactError, match="cannot be written to"):
        pay(items("c", "d"))
    totals = store.totals()
    assert (totals["done"], totals["lost_attempts"], totals["lost_rows"]) == (2, 1, 2)
    assert store.intents("").all() == []
    assert receipt(pay, "c", "d") == (2, 0, 0)


def test_what_the_model_had_answered_before_an_error_that_ends_the_run_is_kept(store: TeacherStore) -> None:
    pay = payer(store, function=Faulty(room=2))
    assert receipt(pay, "x", "y", "z") == (3, 0, 0)  # at most two rows at once from now on
    with pytest.raises(ConfigError, match="account is closed"):
        pay(items("a", "b", "account", "c"))
    assert store.missing([key(name) for name in ("a", "b", "account", "c")]) == [key("account"), key("c")]
    assert (store.totals()["lost_rows"], store.intents("").all()) == (0, [])


def attempt(
    store: TeacherStore, *names: str, timeout_s: float = 0, run: str = "run1"
) -> subprocess.CompletedProcess[str]:
    """The micro-batch in a process of its own."""
    arguments = [store.folder.uri, run, ",".join(names), str(timeout_s)]
    command = [sys.executable, "-m", "tests.unit.executors.faulty", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_a_row_that_kills_its_process_is_isolated_by_halving_and_refused(store: TeacherStore) -> None:
    names = [*GOOD[:2], "kills", *GOOD[2:]]
    codes = []
    for _ in range(10):  # an engine starts the process again
        ended = attempt(store, *names)
        codes.append(ended.returncode)
        if ended.returncode == 0:
            break
    # Twice with all 8 rows, then with 4, 2 and 1 of them.
    assert codes == [9, 9, 9, 9, 9, 0]
    assert reasons(store) == {key("kills"): ("ProcessDied", False)}
    assert answers(store, *GOOD) == [f"{name.upper()} 0" for name in GOOD]
    totals = store.totals()
    assert (totals["done"], totals["refused"]) == (7, 1)
    assert (totals["lost_attempts"], totals["lost_rows"]) == (5, 8 + 8 + 4 + 2 + 1)
    assert store.intents("").all() == []
    (told,) = json.loads(attempt(store, *names, run="run2").stdout)
    assert (told["done"], told["refused"], told["reused"]) == (0, 0, 8)


def test_a_row_that_hangs_is_isolated_after_its_time_out_and_refused(store: TeacherStore) -> None:
    names = [*GOOD[:3], "hangs"]
    codes = []
    for _ in range(8):
        codes.append(attempt(store, *names, timeout_s=0.4).returncode)
        if codes[-1] == 0:
            break
    assert codes == [EXIT_TIMED_OUT] * 3 + [0]  # with 4 rows, with 2, with 1
    assert reasons(store) == {key("hangs"): ("TimedOut", False)}
    assert answers(store, *GOOD[:3]) == [f"{name.upper()} 0" for name in GOOD[:3]]


def test_one_death_is_anybodys_and_the_micro_batch_is_simply_tried_again(store: TeacherStore) -> None:
    keys = [key("a"), key("b")]
    assert attempt(store, "a", "kills").returncode == 9  # another micro-batch: no suspicion against this one
    assert receipt(payer(store), "a", "b") == (2, 0, 0)
    assert store.totals()["commits"] == 1
    assert store.missing(keys) == []
    (left,) = store.intents("").all()
    assert left.num_rows == 2
    assert store.intents("another run").is_dead(left)
