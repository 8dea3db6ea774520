"""What each process does that `torchrun` starts: it finds its device and its peers, and trains a written job.

Reads a job file (see `stages/train_jobs.py`) and what the job names; writes what every training writes, and lines of
progress. Needs no Ray and no MLflow. Knows nothing of experiments.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from pydantic import ValidationError

from orchestrator.errors import ArtifactError, ConfigError, OrchestratorError
from orchestrator.training.loop import Progress
from orchestrator.training.run import TrainingJob, train

USAGE = "torchrun --nproc-per-node N -m jobs.train_worker JOB.json"
EXIT_WRONG = 2
TOLD_FIRST = ("train/loss", "train/accuracy", "select/all")


def main(arguments: Sequence[str]) -> int:
    """Train the job in the file that is named; 0, or 2 after an error that the user can act on."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        if len(arguments) != 1:
            raise ConfigError(f"{len(arguments)} arguments", expected=USAGE)
        job = read_job(Path(arguments[0]))
        in_group = join_peers(os.environ)
        for progress in train(job, parallel=in_group and dist.get_world_size() > 1):
            if rank == 0:
                print(line_of(progress), flush=True)
    except OrchestratorError as error:
        print(f"error (worker {rank}): {error}", file=sys.stderr, flush=True)
        return EXIT_WRONG  # the group is left as it is: a peer that hangs in it must not keep this process
    if in_group:
        dist.destroy_process_group()
    if rank == 0:
        print(f"student:  {job.folder}", flush=True)
    return 0


def read_job(path: Path) -> TrainingJob:
    """The job in a file.

    Raises:
        ArtifactError: no such file, or it is no job.
    """
    try:
        return TrainingJob.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"{path} holds no training job: {str(error).splitlines()[0]}",
            expected="a file that `orchestrator write-jobs EXPERIMENT.yaml FOLDER` wrote with this version",
        ) from error


def join_peers(environment: Mapping[str, str]) -> bool:
    """Take this process's GPU, if there are any, and join the process group, if torchrun made one; whether it did.

    Raises:
        ConfigError: there are GPUs, but none for this process.
    """
    local_rank = int(environment.get("LOCAL_RANK", "0"))
    use_gpu = torch.cuda.is_available()
    if use_gpu:
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local_rank} of this node, which has {torch.cuda.device_count()} GPUs",
                expected="a GPU for each process",
                remedy=f"--nproc-per-node {torch.cuda.device_count()}, or CUDA_VISIBLE_DEVICES= for CPUs",
            )
        torch.cuda.set_device(local_rank)
    if "WORLD_SIZE" not in environment:
        return False
    dist.init_process_group(
        "nccl" if use_gpu else "gloo", device_id=torch.device("cuda", local_rank) if use_gpu else None
    )
    return True


def line_of(progress: Progress) -> str:
    """One epoch in a line: the first of its metrics, and the speed."""
    shown = [f"{name} {progress.metrics[name]:.4g}" for name in TOLD_FIRST if name in progress.metrics]
    speed = progress.metrics.get("speed/images_per_s")
    told = [*shown, *([] if speed is None else [f"{speed:,.0f} images/s"])]
    return f"epoch {progress.epoch}/{progress.num_epochs}, step {progress.step:,}: {', '.join(told)}"
