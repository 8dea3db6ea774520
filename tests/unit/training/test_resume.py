"""A training that was cut off and resumed ends in the same bits as one that was left alone."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.training.run import HISTORY, TrainingJob, read_result, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine

CHILD = """
import sys
import time
from orchestrator.training.run import TrainingJob, train

for progress in train(TrainingJob.model_validate_json(sys.stdin.read())):
    print(progress.epoch, flush=True)
    if progress.epoch == int(sys.argv[1]):
        time.sleep(3600)  # until it is killed: the rest of the training is shorter than a busy parent's nap
"""
ALL_TOGETHER: dict[str, Any] = {
    "training.views": {"recipe": "randclsstack"},
    "training.more_views": [{"recipe": "sim"}],
    "training.sampler": {"kind": "class_balanced"},
    "training.passes_per_epoch": 2,
    "training.loss_schedules": {"text": {"points": [[0.1, 0], [0.7, 1]], "interpolation": "cosine"}},
    "training.gradient_report_every_steps": 2,
    "losses.views": {"kind": "paco", "queue_size": 64, "head_dim": 8},
}
MIXED: dict[str, Any] = {
    "training.mixing": {},
    "losses.image": {"kind": "image_distillation", "feature_weight": 0},
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32, "drop_path": 0.5},
}
SGD = {
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.05, "learning_rate_scales": {"adaptor.*": 2}},
    "training.schedule": {"kind": "one_cycle"},  # its momentum is of the step too
}


def run(job: TrainingJob, *, stop_after: int | None = None) -> list[int]:
    """Train, ceasing to iterate after some epochs; returns the epochs seen."""
    seen = []
    for progress in train(job):
        seen.append(progress.epoch)
        if progress.epoch == stop_after:
            break
    return seen


def outcome(job: TrainingJob) -> tuple[bytes, list[dict[str, float]], dict[str, Any]]:
    """The student's bytes, the history without measured times, and the newest checkpoint's tensors."""
    folder = Path(job.folder)
    history = [
        {name: value for name, value in row.items() if not name.startswith("speed/")}
        for row in read_json(folder / HISTORY)
    ]
    newest = sorted((folder / "checkpoints").glob("*.pt"))[-1]
    return (folder / STUDENT).read_bytes(), history, torch.load(newest, weights_only=True)


def assert_same(one: TrainingJob, other: TrainingJob) -> None:
    (student, history, state), (student_2, history_2, state_2) = outcome(one), outcome(other)
    assert student == student_2
    assert json.dumps(history) == json.dumps(history_2)
    assert state["step"] == state_2["step"]
    for name, tensor in state["model"].items():
        assert torch.equal(tensor, state_2["model"][name]), name
    moments, moments_2 = state["optimizer"]["state"], state_2["optimizer"]["state"]
    for key, row in moments.items():
        for name, value in row.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(moments_2[key][name])), (key, name)


@pytest.mark.parametrize(
    "overrides", [ALL_TOGETHER, MIXED], ids=["views_sampler_schedule_momentum", "mixing_drop_path"]
)
def test_views_samplers_schedules_momentum_copies_and_mixing_resume_in_the_same_bits(
    smoke_line: SmokeLine, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    told = {**overrides, "training.epochs": 4, "training.checkpoint_every_epochs": 2}
    straight, resumed = (smoke_line.job(tmp_path / name, told) for name in ("straight", "resumed"))
    assert run(straight) == [1, 2, 3, 4]
    assert run(resumed, stop_after=3) == [1, 2, 3]
    torch.rand(7)
    assert run(resumed) == [3, 4]
    assert_same(straight, resumed)
    _, history, state = outcome(straight)
    if overrides is ALL_TOGETHER:
        assert any(name.startswith("momentum_student.") for name in state["model"])
        assert {"train/text.weight", "train/gradient_norm.views", "train/gradient_cosine.text~views"} <= set(history[0])
        weights = [row["train/text.weight"] for row in history]
        assert weights[0] < weights[1] < weights[2] <= weights[3] == 1


@pytest.mark.parametrize("optimizer", [{}, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize(("every", "stop_after"), [(1, 2), (2, 3), (3, 1)])
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(
    smoke_line: SmokeLine, tmp_path: Path, optimizer: dict[str, Any], every: int, stop_after: int
) -> None:
    overrides = {"training.epochs": 5, "training.checkpoint_every_epochs": every, **optimizer}
    straight, resumed = (smoke_line.job(tmp_path / name, overrides) for name in ("straight", "resumed"))
    assert run(straight) == [1, 2, 3, 4, 5]
    assert run(resumed, stop_after=stop_after) == list(range(1, stop_after + 1))
    first = stop_after // every * every + 1
    assert run(resumed) == list(range(first, 6))
    assert_same(straight, resumed)


def test_frozen_parameters_keep_their_start_values_and_the_others_are_trained(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    frozen = {"training.freeze": ["student.*", "!student.classifier.*"]}
    short, long = (smoke_line.job(tmp_path / str(epochs), {"training.epochs": epochs, **frozen}) for epochs in (1, 2))
    run(short)
    run(long)
    one, two = (load_file(Path(job.folder) / STUDENT) for job in (short, long))
    weights = {name for name in one if not name.startswith("classifier") and one[name].ndim > 1}
    assert len(weights) == 3
    assert all(torch.equal(one[name], two[name]) for name in weights)
    assert not torch.equal(one["classifier.weight"], two["classifier.weight"])


def test_a_training_that_replays_views_resumes_in_the_same_bits_and_sees_other_teacher_rows(
    viewing_line: SmokeLine, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    overrides = {"training.epochs": 5, "training.checkpoint_every_epochs": 2}
    straight, resumed = (viewing_line.job(tmp_path / name, overrides) for name in ("straight", "resumed"))
    assert run(straight) == [1, 2, 3, 4, 5]
    run(resumed, stop_after=3)
    assert run(resumed) == [3, 4, 5]
    assert_same(straight, resumed)
    plain = smoke_line.job(tmp_path / "plain", overrides)
    run(plain)
    assert outcome(plain)[0] != outcome(straight)[0]
    texts = {"losses.image": None, **overrides}  # no loss reads the image teacher: nothing is replayed
    one, two = viewing_line.job(tmp_path / "one", texts), smoke_line.job(tmp_path / "two", texts)
    run(one)
    run(two)
    assert outcome(one)[0] == outcome(two)[0]


@pytest.mark.parametrize(
    "other", [{"training.data_seed": 9}, {"training.views.pad": 2}, {"training.views.flip": False}]
)
def test_a_training_that_draws_other_views_than_its_teacher_saw_is_refused(
    viewing_line: SmokeLine, tmp_path: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="of other views than this training draws") as error:
        run(viewing_line.job(tmp_path / "job", other))
    assert "image_teacher_views: 0" in str(error.value)
    run(viewing_line.job(tmp_path / "texts", {**other, "losses.image": None}))


def test_the_same_job_in_two_folders_gives_the_same_bits_and_another_seed_others(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    one, two = smoke_line.job(tmp_path / "one"), smoke_line.job(tmp_path / "two")
    data = smoke_line.job(tmp_path / "data", {"training.data_seed": 1})
    init = smoke_line.job(tmp_path / "init", {"training.init_seed": 1})
    for job in (one, two, data, init):
        run(job)
    assert_same(one, two)
    assert len({outcome(job)[0] for job in (one, data, init)}) == 3


def test_a_training_that_was_killed_after_its_last_checkpoint_tells_its_last_epoch_again(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    job = smoke_line.job(tmp_path / "job")
    (last,) = [progress for progress in train(job) if progress.epoch == progress.num_epochs]
    result = read_result(Path(job.folder))
    (Path(job.folder) / STUDENT).unlink()
    again = list(train(job))
    assert [progress.epoch for progress in again] == [3]
    assert again[0].metrics["select/all"] == last.metrics["select/all"]
    assert again[0].metrics["train/loss"] == last.metrics["train/loss"]
    assert json.dumps(read_result(Path(job.folder))) == json.dumps(result)
    assert (Path(job.folder) / STUDENT).is_file()


@pytest.mark.parametrize("kill_after", [1, 4])
def test_a_process_killed_in_mid_training_and_resumed_equals_an_undisturbed_one(
    smoke_line: SmokeLine, tmp_path: Path, project: Path, kill_after: int
) -> None:
    overrides = {"training.epochs": 8, "training.checkpoint_every_epochs": 2}
    straight, killed = (smoke_line.job(tmp_path / name, overrides) for name in ("straight", "killed"))
    run(straight)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(kill_after)],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(killed.model_dump_json())
        child.stdin.close()
        for line in child.stdout:
            if int(line) == kill_after:
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    assert not (Path(killed.folder) / STUDENT).exists()
    assert run(killed)[-1] == 8
    assert_same(straight, killed)


def test_each_process_tells_once_how_long_its_first_step_took(smoke_line: SmokeLine, tmp_path: Path) -> None:
    job = smoke_line.job(tmp_path / "told")
    run(job, stop_after=1)
    run(job)
    history = read_json(Path(job.folder) / HISTORY)
    assert [row["epoch"] for row in history if "speed/first_step_s" in row] == [1, 2]
    moments = read_json(Path(job.folder) / "first_step.json")
    at, processor_s = moments["at"], moments["processor_s"]
    order = ["begun", "data", "student", "first_batch", "first_step"]
    assert sorted(order, key=lambda name: at[name]) == sorted(order, key=lambda name: processor_s[name]) == order
    assert history[1]["speed/first_step_s"] == at["first_step"] - at["begun"]


def test_a_folder_with_checkpoints_of_other_settings_is_refused(smoke_line: SmokeLine, tmp_path: Path) -> None:
    run(smoke_line.job(tmp_path / "job"), stop_after=1)
    with pytest.raises(ArtifactError, match="other settings"):
        run(smoke_line.job(tmp_path / "job", {"training.data_seed": 9}))
