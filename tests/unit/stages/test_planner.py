"""The planner's arithmetic, and that what it probes is not paid again."""

from pathlib import Path

import pytest

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import ActorPoolSettings, PriceSettings
from orchestrator.config.load import load_experiment
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import caption, index
from orchestrator.stages.context import Context
from orchestrator.stages.planner import estimate, rates, spread, write_predictions
from orchestrator.stages.teacher_rows import Ran, predictions_path
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
