"""A storage root that is no folder: the line works in a local one, and what it made outlives the machine."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.config.execution import Execution
from orchestrator.config.load import load_experiment
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import NullTracker, TrackingSettings
from tests.smoke_line import SMOKE


def context(root: str, scratch: Path, *overrides: str) -> Context:
    """The smoke experiment on a machine whose scratch is this folder; telling its events on standard output."""
    execution = Execution(
        name="test",
        engine="in_process",
        storage_root=root,
        scratch=str(scratch),
        tracking=TrackingSettings(kind="none"),
    )
    experiment = load_experiment(SMOKE, ["sweep=null", "arms={distilled: {}}", *overrides])
    return Context(experiment, execution, NullTracker(), Feedback(), InProcessExecutor)


def bytes_of(plans: Mapping[str, Plan]) -> dict[str, bytes]:
    """The files of all artifacts, by stage and name."""
    return {
        f"{stage}/{path.name}": path.read_bytes()
        for stage, plan in plans.items()
        for path in sorted(plan.folder.glob("[a-z]*.*"))
    }


def test_a_machine_that_has_nothing_reuses_what_another_one_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    first = context(root, tmp_path / "first")
    plans = line.run(first, "evaluate")
    first.close()
    made = bytes_of(plans)
    shutil.rmtree(tmp_path / "first")
    capsys.readouterr()
    second = context(root, tmp_path / "second")
    again = line.run(second, "evaluate")
    second.close()
    told = capsys.readouterr().out
    assert "files came from" in told
    assert " made " not in told
    assert bytes_of(again) == made


def test_an_artifact_made_anew_is_made_anew_for_every_machine(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    line.run(context(root, tmp_path / "first"), "index")
    (changed,) = line.run(context(root, tmp_path / "second", "dataset.seed=12"), "index").values()
    third = context(root, tmp_path / "third", "dataset.seed=12")
    found = line.plan_data(third)["index"]
    assert found.status().value == "reuse"
    assert found.fingerprint == changed.fingerprint
