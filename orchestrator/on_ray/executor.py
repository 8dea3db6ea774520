"""The Ray engine: Ray Data for tables, Ray Train for students, Ray Tune for sweeps, on one connection.

Knows which part of the plan needs what; knows nothing of stages.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.execution import ActorPoolSettings, Execution, TrialSettings, WorkerSettings
from orchestrator.errors import ConfigError
from orchestrator.executors.protocol import (
    EachDone,
    EachProgress,
    OnEvent,
    OnProgress,
    OnReceipt,
    OnResult,
    OnStall,
    SweepJob,
    TableWorker,
)
from orchestrator.on_ray import search, tables, train
from orchestrator.on_ray.cluster import Cluster
from orchestrator.on_ray.folders import FolderServer
from orchestrator.on_ray.storage import require_reachable_root, require_shared
from orchestrator.search.trial import TrialResult
from orchestrator.training.run import TrainingJob
from orchestrator.training.tune import TuningJob

_log = logging.getLogger(__name__)


class RayExecutor:
    """Implements `Executor` on a Ray cluster; each call first proves that its plan fits.

    On a cluster that is not our own the storage is looked at first, from every node.
    """

    def __init__(self, execution: Execution) -> None:
        self._storage = execution.work_folder / "ray"
        self._cluster = Cluster(execution.cluster)
        try:
            if not self._cluster.is_own:
                require_reachable_root(execution)
                for told in require_shared(execution):
                    _log.warning(told)
            self._server = FolderServer(execution, is_own=self._cluster.is_own)
        except BaseException:
            self._cluster.close()
            raise
        self._folders = self._server.folders

    def map_table(
        self, plan: Path, worker: TableWorker, pool: ActorPoolSettings, on_receipt: OnReceipt, on_stall: OnStall
    ) -> None:
        """See `Executor`."""
        self._cluster.require(
            f"a pool of {pool.num_actors} actors",
            num_cpus=pool.num_actors * pool.num_cpus_per_actor,
            num_gpus=pool.num_actors * pool.num_gpus_per_actor,
        )
        self._cluster.require_on_a_node(
            "one actor of the pool", num_cpus=pool.num_cpus_per_actor, num_gpus=pool.num_gpus_per_actor
        )
        tables.map_table(plan, worker, pool, self._folders, on_receipt, on_stall)

    def train(self, job: TrainingJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        num_loaders = job.loading.num_loaders if job.loading.loaders == "ray_data" else 0
        told = f" with {num_loaders} Ray Data loaders each" if num_loaders else ""
        self._cluster.require(
            f"training on {workers.least_workers} workers{told}",
            num_cpus=workers.least_workers * (workers.num_cpus_per_worker + num_loaders),
            num_gpus=workers.least_workers * workers.num_gpus_per_worker,
        )
        train.train_distributed(job, workers, self._storage / "train", self._folders, on_progress)

    def tune(self, job: TuningJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        self._cluster.require_on_a_node(
            "tuning the image teacher",
            num_cpus=workers.num_cpus_per_worker,
            num_gpus=workers.num_gpus_per_worker,
        )
        train.tune_alone(job, workers, self._folders, on_progress)

    def train_many(
        self, jobs: Sequence[TrainingJob], trials: TrialSettings, on_progress: EachProgress, on_done: EachDone
    ) -> None:
        """See `Executor`."""
        self._require_trials(trials, jobs[0].loading.num_loaders if jobs else 0)
        train.train_many(jobs, trials, self._folders, on_progress, on_done)

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult, on_event: OnEvent) -> list[TrialResult]:
        """See `Executor`."""
        on_event(self._require_trials(trials, job.template.loading.num_loaders))
        return search.sweep(job, trials, self._storage / "train", self._folders, on_result, on_event)

    def _require_trials(self, trials: TrialSettings, num_loaders: int) -> str:
        """Refuse trials that can never be placed, or whose batches would be made on CPUs that others hold.

        Returns:
            The arithmetic, in one line.
        """
        what = _counted(trials.num_workers, "trial worker")
        if trials.num_train_workers > 1:
            what = f"{_counted(trials.num_workers, 'trial')} of {trials.num_train_workers} workers"
        cpus, gpus = trials.num_cpus_per_worker, trials.num_gpus_per_worker
        if num_loaders and 1 + num_loaders > cpus:
            raise ConfigError(
                f"a trial worker and the {num_loaders} loaders that make its batches are {1 + num_loaders} processes; "
                f"execution.trials gives them {cpus:g} CPUs",
                expected=f"trials.num_cpus_per_worker {1 + num_loaders}, or input.num_loaders {max(0, int(cpus) - 1)}",
                remedy="set one of them in the execution sheet",
            )
        needed = {"num_cpus": trials.processes * cpus, "num_gpus": trials.processes * gpus}
        self._cluster.require(what, **needed)
        self._cluster.require_on_a_node("one trial worker", num_cpus=cpus, num_gpus=gpus)
        each = f" of {trials.trials_per_worker} trials" if trials.trials_per_worker > 1 else ""
        held = f"{_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}"
        return f"{what}{each}, {held} for each worker: {self._cluster.shown(**needed)}"

    def close(self) -> None:
        """Leave or end the cluster."""
        try:
            self._server.close()
        finally:
            self._cluster.close()


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
