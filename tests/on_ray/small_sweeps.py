"""What the tests of sweeps share: small spaces of the smoke experiment, what came of them, and what may be left."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.state import list_actors, list_placement_groups

from orchestrator.config.execution import TrialSettings
from orchestrator.config.load import validate
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.protocol import SweepJob
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult
from orchestrator.training.student_file import STUDENT
from tests.on_ray.processes import our_ray_workers
from tests.smoke_line import SmokeLine

PATIENCE_S = 60.0
RATE, WEIGHT = "training.optimizer.learning_rate", "losses.text.weight"


def nothing(*_: Any) -> None:
    pass


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def space_of(
    points: Sequence[Mapping[str, Any]],
    epochs: int,
    scheduler: Mapping[str, Any] | None = None,
    bounds: tuple[float, float] = (1e-12, 1e36),
) -> SearchSpace:
    """A space that tries these points and nothing else."""
    given: dict[str, Any] = {
        "name": "test", "question": "?", "expected": "!", "cost": "seconds", "points": list(points),
        "parameters": {path: {"kind": "loguniform", "low": bounds[0], "high": bounds[1]} for path in points[0]},
        "fixed": {"training.epochs": epochs}, "budget": {"num_trials": len(points)},
        "scheduler": scheduler or {"kind": "none"}, "searcher": {"kind": "random"}, "objectives": {"train/loss": "min"},
    }  # fmt: skip
    return validate(SearchSpace, given, "test")


def job_of(line: SmokeLine, folder: Path, space: SearchSpace) -> SweepJob:
    return SweepJob("smoke/sweep/test", folder, space, line.context.experiment, line.job(folder))


def in_process(line: SmokeLine, folder: Path, space: SearchSpace) -> list[TrialResult]:
    return InProcessExecutor().sweep(job_of(line, folder, space), TrialSettings(), nothing, nothing)


def outcome(results: Sequence[TrialResult]) -> list[Any]:
    """What must not depend on who trained the trials, or where: all but times."""
    return [
        (
            one.number, one.values, one.status, one.epochs, one.error,
            [{name: repr(row[name]) for name in sorted(row) if not name.startswith("speed/")} for row in one.history],
        )
        for one in results
    ]  # fmt: skip


def student(folder: Path, number: int) -> bytes:
    return (folder / "trials" / f"{number:04d}" / STUDENT).read_bytes()


def what_is_left() -> list[str]:
    """Actors and placement groups that Ray knows of, and processes of trials."""
    address = ray.get_runtime_context().gcs_address  # other clusters may run on this machine
    alive = [one.class_name for one in list_actors(address, limit=1000) if one.state != "DEAD"]
    actors = [name for name in alive if name != "_AutoscalingCoordinatorActor"]  # Ray's own, one for a cluster
    groups = [one.placement_group_id for one in list_placement_groups(address, limit=1000) if one.state != "REMOVED"]
    return actors + groups + [str(pid) for pid in our_ray_workers("Trial")]
