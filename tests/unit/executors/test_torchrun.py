"""torchrun drives the same loop: with one process to the same bits as in process, with two to the same student."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from orchestrator.artifacts.storage import read_json
from orchestrator.cli import app
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.executors.torchrun import join_peers, line_of, read_job
from orchestrator.training.loop import Progress
from orchestrator.training.run import HISTORY, TrainingJob, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import PROJECT, SMOKE, SmokeLine, make_smoke_line

SMALL: dict[str, Any] = {"training.epochs": 2, "training.accumulation_steps": 2}
# No BatchNorm (its statistics are each worker's own), and SGD, which does not magnify rounding as Adam does.
WITHOUT_BATCHNORM: dict[str, Any] = {
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32},
    "adaptor.depth": 0,
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def smoke_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """Shards and embeddings of the smoke experiment."""
    return make_smoke_line(tmp_path_factory.mktemp("smoke_line"))


def torchrun(job: TrainingJob, num_processes: int, project: Path) -> subprocess.CompletedProcess[str]:
    """The job under torchrun, on CPUs."""
    path = Path(job.folder).with_suffix(".json")
    path.write_text(job.model_dump_json())
    return command([str(path)], num_processes, project)


def command(arguments: Sequence[str], num_processes: int, project: Path) -> subprocess.CompletedProcess[str]:
    """torchrun itself."""
    options = ["--standalone", f"--nproc-per-node={num_processes}"]
    started = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "jobs.train_worker", *arguments]
    return subprocess.run(started, cwd=project, capture_output=True, text=True, check=False)


def losses(job: TrainingJob) -> str:
    """The history without measured times, exactly."""
    rows: list[dict[str, float]] = read_json(Path(job.folder) / HISTORY)
    return json.dumps([{name: row[name] for name in sorted(row) if not name.startswith("speed/")} for row in rows])


def test_one_process_under_torchrun_trains_to_the_same_bits_and_loss_curve_as_in_process(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    alone, under = (smoke_line.job(tmp_path / name, SMALL) for name in ("alone", "under"))
    for _ in train(alone):
        pass
    done = torchrun(under, 1, project)
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert (Path(alone.folder) / STUDENT).read_bytes() == (Path(under.folder) / STUDENT).read_bytes()
    assert losses(alone) == losses(under)


def test_two_processes_under_torchrun_train_the_student_of_one(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    alone, under = (smoke_line.job(tmp_path / name, {**SMALL, **WITHOUT_BATCHNORM}) for name in ("alone", "under"))
    for _ in train(alone):
        pass
    done = torchrun(under, 2, project)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(Path(job.folder) / STUDENT) for job in (alone, under))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_a_batch_that_the_processes_cannot_share_ends_with_a_reason_and_another_exit_code(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    job = smoke_line.job(tmp_path / "job", {"training.batch_size": 6, "training.accumulation_steps": 2})
    done = torchrun(job, 2, project)
    assert done.returncode != 0
    assert "training.batch_size 6 on 2 workers in 2 micro-batches" in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr.split("error (worker")[0]


def test_a_file_that_is_no_job_says_how_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with pytest.raises(ArtifactError, match="holds no training job"):
        read_job(path)
    path.write_text('{"folder": "here"}')
    with pytest.raises(ArtifactError, match="write-jobs"):
        read_job(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.gpu
def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(ConfigError, match="GPUs"):
        join_peers({"LOCAL_RANK": str(torch.cuda.device_count())})


def test_without_torchrun_there_is_no_group_and_a_line_tells_the_epoch() -> None:
    assert not join_peers({})
    told = line_of(Progress(2, 5, 1200, {"train/loss": 1.23456, "speed/images_per_s": 1500.4}))
    assert told == "epoch 2/5, step 1,200: train/loss 1.235, 1,500 images/s"


def test_written_jobs_are_those_of_the_arms_and_train_in_their_folders(smoke_line: SmokeLine, tmp_path: Path) -> None:
    context, sheet = smoke_line.context, str(PROJECT / "jobs" / "executions" / "in_process.yaml")
    where = ["-x", sheet, "--set", f"storage_root={context.root}", "--set", "tracking.kind=none", "--quiet", "--json"]
    asked = ["write-jobs", str(SMOKE), str(tmp_path / "jobs"), "sweep=null", "image_teacher_views=0", *where]
    ended = CliRunner().invoke(app, asked)
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout.splitlines()[-1])
    assert (told["command"], told["status"], told["experiment"]) == ("write-jobs", "SUCCEEDED", "smoke")
    written = {arm: Path(path) for arm, path in told["jobs"].items()}
    assert written == {arm: tmp_path / "jobs" / f"{arm}.json" for arm in context.experiment.arms}
    for arm, path in written.items():
        job = read_job(path)
        assert Path(job.folder) == context.folder / "arms" / arm
        assert sorted(job.losses) == (["classification"] if arm == "baseline" else ["classification", "image", "text"])
