"""The planner's arithmetic, and that what it probes is not paid again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.file_systems import unreachable
from orchestrator.artifacts.storage import read_json
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.config.execution import ActorPoolSettings, PriceSettings
from orchestrator.config.load import load_experiment
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import caption, index, teacher_rows
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.planner import estimate, rates, spread, write_predictions
from orchestrator.stages.teacher_rows import Ran, make_rows, plan_path, predictions_path
from tests.smoke_line import SMOKE, quiet_context


def test_a_sample_is_spread_evenly_over_the_data() -> None:
    assert spread(10, 20) == list(range(10))
    assert spread(100, 4) == [12, 37, 62, 87]
    assert len(set(spread(1000, 7))) == 7


def test_the_rate_is_the_distance_of_receipts_of_one_actor_without_its_first() -> None:
    receipts = [(10.0, 4.0, "a"), (12.0, 1.9, "a"), (14.0, 1.9, "a"), (11.0, 3.0, "b"), (15.0, 3.9, "b")]
    assert rates(Ran(receipts=receipts)) == (6.0, 3.0)
    assert rates(Ran(receipts=[(5.0, 2.0, "a")])) == (3.0, 2.0)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    made = quiet_context(load_experiment(SMOKE, ["sweep=null"]), tmp_path / "runs")
    pool = ActorPoolSettings(batch_size=2, num_cpus_per_actor=2)
    execution = made.execution.model_copy(
        update={"captioning": pool, "prices": PriceSettings(cpu_hour_usd=3.6, gpu_hour_usd=100)}
    )
    return Context(made.experiment, execution, made.tracker, made.feedback, InProcessExecutor)


def test_what_others_commit_while_a_probe_is_planned_is_not_paid_again(context: Context) -> None:
    planned = index.make(context)
    wanted = caption.job(context, planned.folder)
    listed: list[int] = []

    def chunks() -> Iterator[pa.Table]:
        listed.append(1)
        if len(listed) == 1:  # the plan has read the store by now
            run_of_another = replace(wanted, store=TeacherStore(wanted.store.folder))
            make_rows(context, run_of_another, context.folder / "another")
        yield from wanted.chunks()

    told = estimate(context, replace(wanted, chunks=chunks), context.folder)
    assert told.missing == 124, "when it looked"
    assert (wanted.store.totals()["model_rows"], wanted.store.totals()["done"]) == (124, 124)


def test_a_compaction_that_fails_beside_paying_is_told_and_ends_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries: list[int] = []

    def fails_at_first(store: TeacherStore) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise unreachable(store.folder, "written to", OSError("AWS Error SLOW_DOWN"))
        return compact(store)

    monkeypatch.setattr(teacher_rows, "compact", fails_at_first)
    monkeypatch.setattr(teacher_rows, "_COMPACT_EVERY", 10)
    monkeypatch.setattr(teacher_rows, "MAX_PARTS", 1)
    loud = Context(context.experiment, context.execution, context.tracker, Feedback(), InProcessExecutor)
    caption.make(loud, index.make(loud))
    assert caption.caption_store(loud).totals()["model_rows"] == 124
    assert capsys.readouterr().out.count("not compacted, which is tried again") == 2


def test_plans_of_killed_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    mine = plan_path(tmp_path)
    mine.touch()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    elsewhere = mine.with_name(f".plan-0123456789ab-{gone.pid}-cafe.arrow")
    left.touch(), elsewhere.touch()
    another = plan_path(tmp_path)
    assert another != mine
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, elsewhere.name}


def test_an_estimate_counts_what_is_missing_and_what_the_probe_has_paid(context: Context) -> None:
    planned = index.make(context)
    wanted = caption.job(context, planned.folder)
    told = estimate(context, wanted, context.folder)
    assert (told.asked, told.missing) == (124, 124)
    assert told.probed == 6 * 2 * 2  # six micro-batches of two images with two prompts
    assert told.rest == 100
    assert told.cpu_hours == pytest.approx(told.seconds * 2 / 3600)
    assert told.gpu_hours == 0
    assert told.usd == pytest.approx(told.cpu_hours * 3.6)
    assert told.stored_bytes > 0
    assert wanted.store.totals()["model_rows"] == told.probed
    assert [path.name for path in context.folder.glob("*.arrow")] == []

    write_predictions(context, [told])
    caption.make(context, planned)
    assert wanted.store.totals()["model_rows"] == 124
    (prediction,) = read_json(predictions_path(context)).values()
    assert prediction["rows"] == 100
    assert prediction["actual_s"] > 0
    again = estimate(context, wanted, context.folder)
    assert (again.missing, again.seconds) == (0, 0.0)
