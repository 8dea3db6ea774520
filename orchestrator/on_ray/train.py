"""Ray Train: one student on several workers; and many one-worker students side by side as Ray tasks.

Workers write their own checkpoints into the run's folder on the storage root and resume from there, so that a restart
by Ray, by the user or on other workers is one and the same thing. Knows nothing of stages.
"""

import itertools
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
import ray.train.torch

from orchestrator import distributed
from orchestrator.config.execution import TrialSettings, WorkerSettings
from orchestrator.errors import ArtifactError, OrchestratorError, Stopped
from orchestrator.executors.protocol import EachDone, EachProgress, OnProgress
from orchestrator.on_ray.folders import Folders
from orchestrator.on_ray.ingest import batches_by_ray_data
from orchestrator.on_ray.preemption import STOP, PreemptionNotice
from orchestrator.training.loaders import batches_of
from orchestrator.training.pack import packs_of, train_together
from orchestrator.training.parallel import check_workers
from orchestrator.training.run import ERROR, TrainingJob, forget_error, read_error, read_progress, train, write_error
from orchestrator.training.tune import TuningJob, tune

POLL_S = 0.5


def _worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs; the torch process group exists already."""
    job, folders = TrainingJob.model_validate_json(config["job"]), config["folders"]
    folders.bring_inputs(job)
    with folders.work_in(job.folder, job.spool, leads=distributed.rank() == 0, hears=(STOP,), tells=(ERROR,)):
        if folders.is_served:
            ray.train.collective.barrier()  # none writes there before the last one on its node has brought it
        _train(job, folders)


def _train(job: TrainingJob, folders: Folders) -> None:
    """Train with the other workers.

    An error of the user's would be met again after each restart. So it is kept in the run's folder, where the restarted
    workers find it and end: a restart in place of as many as there may be.
    """
    if read_error(job) is not None:
        return
    parallel = ray.train.get_context().get_world_size() > 1
    make_batches = batches_by_ray_data if job.loading.loaders == "ray_data" else batches_of
    try:
        notice = PreemptionNotice(Path(job.folder))
        for progress in train(job, parallel=parallel, notice=notice, make_batches=make_batches, settle=folders.settle):
            if progress.epoch == progress.num_epochs:  # a report waits for the controller's poll, 2 s
                ray.train.report({"epoch": progress.epoch, **progress.metrics})
    except OrchestratorError as error:
        write_error(job, error)
        raise
    except Stopped:  # as told; the run ends as one that is complete does, and gives its places back
        return


def train_distributed(
    job: TrainingJob, workers: WorkerSettings, storage: Path, folders: Folders, on_progress: OnProgress
) -> None:
    """Train with Ray Train (gloo on CPUs, nccl on GPUs); blocks, telling progress as the workers write it.

    Raises:
        ConfigError: the global batch cannot be shared equally.
        OrchestratorError: what a worker raised.
        ArtifactError: the workers failed more often than `max_failures`.
    """
    check_workers(job.training, workers.sizes)
    forget_error(job)
    (Path(job.folder) / STOP).unlink(missing_ok=True)
    use_gpu = workers.num_gpus_per_worker > 0
    resources = {"CPU": workers.num_cpus_per_worker, **({"GPU": workers.num_gpus_per_worker} if use_gpu else {})}
    trainer = ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config={"job": job.model_dump_json(), "folders": folders},
        scaling_config=ray.train.ScalingConfig(
            num_workers=(workers.least_workers, workers.most_workers) if workers.is_elastic else workers.most_workers,
            use_gpu=use_gpu,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=workers.resize_every_s,
        ),
        run_config=ray.train.RunConfig(
            name=f"{job.run_key.replace('/', '-')}-{job.identity()[:8]}",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # told to the caller below, in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        on_progress(read_progress(job))
    if (error := read_error(job)) is not None:
        raise error
    if failure:
        raise _explained(failure[0]) from failure[0]


def _explained(error: BaseException) -> BaseException:
    """The user's own error where a worker raised one; else one that says which run failed."""
    for cause in getattr(error, "worker_failures", {}).values():
        inner: BaseException | None = cause
        while inner is not None:
            if isinstance(inner, OrchestratorError):
                return inner
            inner = getattr(inner, "cause", None) or inner.__cause__
    return ArtifactError(
        f"training failed: {str(error).strip().splitlines()[-1]}", remedy="the same command resumes it"
    )


@ray.remote(max_retries=2)
def _train_together(jobs: Sequence[TrainingJob], folders: Folders) -> dict[str, str]:
    """What each came to, by its run key: the error text that ended it, or ""."""
    with ExitStack() as stack:
        for job in jobs:
            folders.bring_inputs(job)
            stack.enter_context(folders.work_in(job.folder, job.spool))
        return {
            told.run_key: told.error
            for told in train_together(jobs, settle=folders.settle)
            if told.finished or told.error
        }


@ray.remote
def _tune_alone(job: TuningJob, folders: Folders) -> OrchestratorError | None:
    try:
        folders.bring_inputs(job)
        with folders.work_in(job.folder, job.spool):
            for _ in tune(job):
                pass
    except OrchestratorError as error:
        return error
    return None


def tune_alone(job: TuningJob, workers: WorkerSettings, folders: Folders, on_progress: OnProgress) -> None:
    """Tune an image teacher in one task, which a lost process or node restarts from its checkpoint; blocks.

    Raises:
        ArtifactError: the task's process was lost more often than `max_failures`.
    """
    remote = _tune_alone.options(
        num_cpus=workers.num_cpus_per_worker, num_gpus=workers.num_gpus_per_worker, max_retries=workers.max_failures
    )
    running = [remote.remote(job, folders)]
    while not ray.wait(running, timeout=POLL_S)[0]:
        on_progress(read_progress(job))
    try:
        error = ray.get(running[0])
    except ray.exceptions.RayError as lost:
        raise _explained(lost) from lost
    on_progress(read_progress(job))
    if error is not None:
        raise error


def train_many(
    jobs: Sequence[TrainingJob],
    trials: TrialSettings,
    folders: Folders,
    on_progress: EachProgress,
    on_done: EachDone,
) -> None:
    """Train one-worker students in packs, `num_workers` packs at a time; tells each one's end with an error text or "".

    A pack whose process is lost is started again, and goes on from its members' checkpoints.
    """
    waiting = packs_of(jobs, trials.trials_per_worker)[::-1]
    running: dict[Any, list[int]] = {}
    remote = _train_together.options(num_cpus=trials.num_cpus_per_worker, num_gpus=trials.num_gpus_per_worker)
    while waiting or running:
        while waiting and len(running) < trials.num_workers:
            places = waiting.pop()
            running[remote.remote([jobs[place] for place in places], folders)] = places
        ended, _ = ray.wait(list(running), timeout=POLL_S)
        for place in itertools.chain(*running.values()):
            on_progress(place, read_progress(jobs[place]))
        for reference in ended:
            places = running.pop(reference)
            try:
                errors = ray.get(reference)
            except ray.exceptions.RayError as error:
                errors = dict.fromkeys((jobs[place].run_key for place in places), str(error).strip().splitlines()[-1])
            for place in places:
                on_done(place, errors[jobs[place].run_key])
