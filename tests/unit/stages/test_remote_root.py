"""A storage root that is no folder: the line works in a local one, and what it made outlives the machine."""

import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import Execution, TrialSettings
from orchestrator.config.load import load_experiment
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.protocol import Executor, OnEvent, OnResult, SweepJob
from orchestrator.search.trial import TrialResult
from orchestrator.stages import line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import NullTracker, TrackingSettings
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import PROJECT, SMOKE


def context(root: str, scratch: Path, *overrides: str, executor: Callable[[], Executor] = InProcessExecutor) -> Context:
    """The smoke experiment on a machine whose scratch is this folder; telling its events on standard output."""
    execution = Execution(
        name="test",
        engine="in_process",
        storage_root=root,
        scratch=str(scratch),
        tracking=TrackingSettings(kind="none"),
    )
    experiment = load_experiment(SMOKE, ["sweep=null", "arms={distilled: {}}", *overrides])
    return Context(experiment, execution, NullTracker(), Feedback(), executor)


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


SWEEP = f"sweep={{space: {PROJECT}/search_spaces/smoke.yaml, arm: distilled}}"


class Lost(BaseException):
    """Stands for the end of the machine."""


class Watched(InProcessExecutor):
    """Keeps which trials told of an epoch; the machine is lost with the first of one of them."""

    def __init__(self, lost_with: int | None = None) -> None:
        self.at_work, self._lost_with = set[int](), lost_with

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult, on_event: OnEvent) -> list[TrialResult]:
        """See `Executor`."""

        def told(result: TrialResult) -> None:
            if result.status == "running":
                self.at_work.add(result.number)
                if result.number == self._lost_with:
                    raise Lost
            on_result(result)

        return super().sweep(job, trials, told, on_event)


def results_of(sweep: Path) -> list[tuple[Any, ...]]:
    """What the trials of a finished sweep came to, but for what a clock says; and their students."""
    return [
        (
            one["number"], one["status"], one["epochs"], one["values"],
            {name: repr(value) for name, value in one["metrics"].items() if not name.startswith("speed/")},
            (sweep / "trials" / f"{one['number']:04d}" / STUDENT).read_bytes(),
        )
        for one in read_json(sweep / "trials.json")["trials"]
    ]  # fmt: skip


def test_a_half_done_sweep_in_a_bucket_goes_on_on_another_machine_and_repeats_no_ended_trial(
    s3_uri: str, tmp_path: Path
) -> None:
    undisturbed = context(str(tmp_path / "folder"), tmp_path / "none", SWEEP)
    wanted = results_of(line.run(undisturbed, "sweep")["sweep"].folder)
    assert [one[:3] for one in wanted] == [(number, "finished", 2) for number in range(3)]

    first = Watched(lost_with=2)
    with pytest.raises(Lost):
        line.run(context(s3_uri, tmp_path / "first", SWEEP, executor=lambda: first), "sweep")
    assert first.at_work == {0, 1, 2}
    shutil.rmtree(tmp_path / "first")
    ended = Folder(s3_uri).child("smoke/sweeps/smoke/ended")
    before = {name: ended.read(name) for name in ended.names()}
    assert set(before) == {"0000.json", "0001.json"}

    second = Watched()
    folder = line.run(context(s3_uri, tmp_path / "second", SWEEP, executor=lambda: second), "sweep")["sweep"].folder
    assert second.at_work == {2}
    assert folder.is_relative_to(tmp_path / "second")
    assert results_of(folder) == wanted
    assert {name: ended.read(name) for name in before} == before
