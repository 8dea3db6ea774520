"""Trainings that are cut off within an epoch, told to stop, made longer, or given other workers, and go on."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import EXIT_STOPPED, ArtifactError, Stopped
from orchestrator.training.checkpoint_settings import CheckpointSettings
from orchestrator.training.notice import Wish
from orchestrator.training.run import HISTORY, TrainingJob, read_result, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine

CHILD = """
import sys
from orchestrator.training.notice import TerminationNotice
from orchestrator.training.run import TrainingJob, train

with TerminationNotice() as notice:
    for progress in train(TrainingJob.model_validate_json(sys.stdin.read()), notice=notice):
        print(progress.epoch, flush=True)
"""
CONSTANT = {"kind": "step", "milestones": []}
PATIENCE_S = 120.0


class AfterSteps:
    """A notice that comes after so many steps, and remembers that it was asked after each."""

    def __init__(self, num_steps: int, wish: Wish) -> None:
        self.left, self.wish, self.asked = num_steps, wish, 0

    def __call__(self) -> Wish:
        self.left, self.asked = self.left - 1, self.asked + 1
        return self.wish if self.left == 0 else Wish.GO_ON


def job_of(
    line: SmokeLine, folder: Path, overrides: dict[str, Any], checkpointing: dict[str, Any] | None = None
) -> TrainingJob:
    settings = CheckpointSettings(**(checkpointing or {}))
    return line.job(folder, overrides).model_copy(update={"checkpointing": settings})


def epochs_of(job: TrainingJob) -> list[int]:
    return [progress.epoch for progress in train(job)]


def outcome(job: TrainingJob) -> tuple[bytes, str, str]:
    """The student's bytes, history and result, without measured times."""
    folder = Path(job.folder)
    rows = [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in read_json(folder / HISTORY)]
    return (folder / STUDENT).read_bytes(), json.dumps(rows), json.dumps(read_result(folder)["metrics"])


def start(job: TrainingJob, project: Path) -> "subprocess.Popen[str]":
    """A process that trains it; it prints the epochs."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(job.model_dump_json())
    child.stdin.close()
    return child


def wait_for_checkpoint(folder: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(int(path.stem[5:]) >= step for path in folder.glob("step-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 11])
def test_a_training_stopped_within_an_epoch_ends_in_the_same_bits_and_the_same_metrics_of_that_epoch(
    smoke_line: SmokeLine, tmp_path: Path, stop_after: int
) -> None:
    overrides: dict[str, Any] = {
        "training.epochs": 4, "training.checkpoint_every_epochs": 4, "training.gradient_report_every_steps": 2,
        "student": {"kind": "timm", "name": "test_vit", "image_size": 32, "drop_path": 0.5},
    }  # fmt: skip
    straight = job_of(smoke_line, tmp_path / "straight", overrides)
    stopped = job_of(smoke_line, tmp_path / "stopped", overrides)
    assert epochs_of(straight) == [1, 2, 3, 4]
    notice, seen = AfterSteps(stop_after, Wish.STOP), list[int]()
    with pytest.raises(Stopped, match=f"after step {stop_after};") as told:
        seen.extend(progress.epoch for progress in train(stopped, notice=notice))
    assert told.value.code == EXIT_STOPPED
    assert notice.asked == stop_after
    torch.rand(3)
    steps_per_epoch = (Path(straight.folder) / "checkpoints").glob("step-*.json")
    num_steps = max(int(path.stem[5:]) for path in steps_per_epoch) // 4
    assert epochs_of(stopped) == list(range(stop_after // num_steps + 1, 5))
    assert outcome(straight) == outcome(stopped)


def test_a_process_killed_at_random_moments_again_and_again_ends_in_the_same_bits(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    overrides = {"training.epochs": 20, "training.checkpoint_every_epochs": 7}
    straight = job_of(smoke_line, tmp_path / "straight", overrides)
    killed = job_of(smoke_line, tmp_path / "killed", overrides, {"every_steps": 3, "keep": 1})
    epochs_of(straight)
    generator, checkpoints = random.Random(0), tmp_path / "killed" / "checkpoints"
    for step in (1, 24):
        with start(killed, project) as child:
            wait_for_checkpoint(checkpoints, step)
            time.sleep(generator.uniform(0, 0.1))
            child.kill()
        assert child.returncode == -signal.SIGKILL
    assert not (Path(killed.folder) / STUDENT).exists()
    epochs_of(killed)
    assert outcome(straight) == outcome(killed)


def test_sigterm_ends_the_step_writes_a_checkpoint_and_exits_with_a_code_of_its_own(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    overrides = {"training.epochs": 30, "training.checkpoint_every_epochs": 30}
    straight, told = (job_of(smoke_line, tmp_path / name, overrides) for name in ("straight", "told"))
    epochs_of(straight)
    with start(told, project) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGTERM)
    assert child.returncode == EXIT_STOPPED
    steps = [int(path.stem[5:]) for path in (tmp_path / "told" / "checkpoints").glob("step-*.json")]
    assert len(steps) == 1
    epochs_of(told)
    assert outcome(straight) == outcome(told)


def test_a_wished_checkpoint_is_written_within_the_epoch_and_changes_nothing(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    straight, wished = (job_of(smoke_line, tmp_path / name, {}) for name in ("straight", "wished"))
    epochs_of(straight)
    for progress in train(wished, notice=AfterSteps(2, Wish.SAVE)):
        if progress.epoch == 1:
            names = {path.name for path in (Path(wished.folder) / "checkpoints").glob("step-*.json")}
            assert "step-000000002.json" in names
    assert outcome(straight) == outcome(wished)


@pytest.mark.parametrize("schedule", [CONSTANT, {"kind": "cosine"}], ids=["constant", "cosine"])
def test_a_finished_training_is_extended_without_repeating_its_epochs(
    smoke_line: SmokeLine, tmp_path: Path, schedule: dict[str, Any]
) -> None:
    told: dict[str, Any] = {"training.schedule": schedule, "training.evaluate_every_epochs": 1}
    kept = {**told, "training.keep_last_epochs": 2}
    short = job_of(smoke_line, tmp_path / "grown", {**kept, "training.epochs": 3})
    assert epochs_of(short) == [1, 2, 3]
    assert (tmp_path / "grown" / "student-0002.safetensors").exists()
    grown = {**kept, "training.epochs": 6, "training.extended_from": [3]}
    with pytest.raises(ArtifactError, match=r"settings\.training\.epochs: 3 -> 6"):
        next(iter(train(job_of(smoke_line, tmp_path / "grown", {**kept, "training.epochs": 6}))))
    longer = job_of(smoke_line, tmp_path / "grown", grown)
    assert epochs_of(longer) == [4, 5, 6]
    assert not (tmp_path / "grown" / "student-0002.safetensors").exists()
    assert [row["epoch"] for row in read_json(tmp_path / "grown" / HISTORY)] == [1, 2, 3, 4, 5, 6]
    at_once = job_of(smoke_line, tmp_path / "at once", grown)  # the same settings, from the first step on
    assert epochs_of(at_once) == [1, 2, 3, 4, 5, 6]
    assert outcome(at_once) == outcome(longer)
    fresh = job_of(smoke_line, tmp_path / "fresh", {**kept, "training.epochs": 6})
    epochs_of(fresh)
    same = outcome(fresh)[0] == outcome(longer)[0]
    assert same == (schedule is CONSTANT)


def test_checkpoints_may_lie_in_an_object_store(smoke_line: SmokeLine, tmp_path: Path, s3_uri: str) -> None:
    plain = job_of(smoke_line, tmp_path / "plain", {"training.epochs": 4})
    stored = job_of(smoke_line, tmp_path / "stored", {"training.epochs": 4}, {"root": s3_uri, "every_steps": 2})
    epochs_of(plain)
    with pytest.raises(Stopped):
        list(train(stored, notice=AfterSteps(7, Wish.STOP)))
    assert not (Path(stored.folder) / "checkpoints").exists()
    epochs_of(stored)
    assert outcome(plain) == outcome(stored)


def test_weights_of_the_best_epoch_can_be_read_from_the_pointer(smoke_line: SmokeLine, tmp_path: Path) -> None:
    job = job_of(smoke_line, tmp_path / "job", {"training.epochs": 6}, {"keep": 1})
    epochs_of(job)
    with job.open_checkpoints() as checkpoints:
        best = checkpoints.best()
    assert best is not None
    rows = read_json(Path(job.folder) / HISTORY)
    first_best = max(rows, key=lambda row: (row["select/all"], -row["epoch"]))
    assert best["history"][-1]["epoch"] == first_best["epoch"]
    student = load_file(Path(job.folder) / STUDENT)
    assert {f"student.{name}" for name in student} <= set(best["model"])
