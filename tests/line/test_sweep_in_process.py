"""A sweep in process: ended in the middle and repeated it is the undisturbed one, and trials tell what they cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import TrialSettings
from orchestrator.config.load import validate
from orchestrator.errors import ConfigError
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.protocol import SweepJob
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult
from orchestrator.training.student_file import load_student
from tests.smoke_line import SmokeLine, make_smoke_line

SPACE: dict[str, Any] = {
    "name": "test", "question": "?", "expected": "!", "cost": "seconds",
    "parameters": {
        "losses.text.weight": {"kind": "loguniform", "low": 0.1, "high": 10},
        "student.width": {"kind": "choice", "values": [4, 8]},
    },
    "fixed": {"training.epochs": 2},
    "objectives": {"train/loss": "min", "cost/model_size_mb": "min", "cost/latency_ms_b2_t1": "min"},
    "budget": {"num_trials": 4},
    "scheduler": {"kind": "none"},
    "searcher": {"kind": "optuna_tpe", "num_startup_trials": 2},
}  # fmt: skip
MEASURED = ("speed", "cost/latency")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def smoke_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """What trials read."""
    return make_smoke_line(tmp_path_factory.mktemp("smoke"))


def job_of(line: SmokeLine, folder: Path, **changes: Any) -> SweepJob:
    space = validate(SearchSpace, {**SPACE, **changes}, "test")
    return SweepJob("smoke/sweep/test", folder, space, line.context.experiment, line.job(folder))


def sweep(job: SweepJob, kill_at: tuple[int, int] | None = None) -> list[TrialResult]:
    """The sweep; ended at once when trial `kill_at[0]` tells of epoch `kill_at[1]`."""

    def on_result(result: TrialResult) -> None:
        if (result.number, result.epochs) == kill_at and result.status == "running":
            raise Killed

    return InProcessExecutor().sweep(job, TrialSettings(), on_result, lambda told: None)


def exact(result: TrialResult) -> TrialResult:
    """Without what a clock says."""

    def kept(row: Any) -> dict[str, float]:
        told = {name: value for name, value in row.items() if not name.startswith(MEASURED)}
        return {name: value for name, value in told.items() if value == value}

    history = tuple(kept(row) for row in result.history)
    return replace(result, metrics=kept(result.metrics), history=history, seconds=0, cpu_seconds=0, gpu_seconds=0)


def test_a_sweep_that_was_killed_twice_ends_as_the_undisturbed_one_and_repeats_no_ended_trial(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    # cost/latency is a clock's, and so is what the searcher makes of it: here it is told what no clock decides
    objectives = {"train/loss": "min", "cost/model_size_mb": "min"}
    whole = sweep(job_of(smoke_line, tmp_path / "whole", objectives=objectives))
    killed = job_of(smoke_line, tmp_path / "killed", objectives=objectives)
    for kill_at in ((1, 1), (2, 2)):
        with pytest.raises(Killed):
            sweep(killed, kill_at)
    first = tmp_path / "killed" / "trials" / "0000" / "history.json"
    written = first.stat().st_mtime_ns
    assert [exact(result) for result in sweep(killed)] == [exact(result) for result in whole]
    assert first.stat().st_mtime_ns == written
    assert [exact(result) for result in sweep(killed)] == [exact(result) for result in whole]  # nothing left to do
    assert [row["epoch"] for row in whole[3].history] == [1, 2]
    assert whole[3].seconds > 0


def test_trials_tell_what_their_students_cost(smoke_line: SmokeLine, tmp_path: Path) -> None:
    job = job_of(smoke_line, tmp_path / "costs", budget={"num_trials": 2}, points=[
        {"losses.text.weight": 1.0, "student.width": width} for width in (4, 8)
    ])  # fmt: skip
    results = sweep(job)
    for result in results:
        student = load_student(tmp_path / "costs" / "trials" / f"{result.number:04d}" / "student.safetensors")
        numbers = sum(parameter.numel() for parameter in student.parameters())
        assert result.metrics["cost/model_size_mb"] == 4 * numbers / 2**20
        assert result.metrics["cost/latency_ms_b2_t1"] > 0
        told = read_json(tmp_path / "costs" / "trials" / f"{result.number:04d}" / "result.json")["metrics"]
        assert told["cost/latency_ms_b2_t1"] == result.metrics["cost/latency_ms_b2_t1"]  # measured once
    assert results[0].metrics["cost/model_size_mb"] < results[1].metrics["cost/model_size_mb"]


def test_a_population_is_refused_where_trials_come_one_by_one(smoke_line: SmokeLine, tmp_path: Path) -> None:
    changes = {"scheduler": {"kind": "pbt"}, "searcher": {"kind": "random"}, "objectives": {"train/loss": "min"}}
    with pytest.raises(ConfigError, match="scheduler pbt needs trials that run side by side"):
        sweep(job_of(smoke_line, tmp_path / "pbt", **changes))
