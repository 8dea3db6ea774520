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
    OnProgress,
    OnReceipt,
    OnResult,
    OnStall,
    SweepJob,
    TableWorker,
)
from orchestrator.on_ray import search, tables, train
from orchestrator.on_ray.cluster import Cluster
from orchestrator.on_ray.storage import require_shared
from orchestrator.search.trial import TrialResult
from orchestrator.training.run import TrainingJob
from orchestrator.training.tune import TuningJob

_log = logging.getLogger(__name__)


class RayExecutor:
    """Implements `Executor` on a Ray cluster; each call first proves that its plan fits.

    On a cluster that is not our own the storage is looked at first, from every node.
    """

    def __init__(self, execution: Execution) -> None:
        self._storage = Path(execution.storage_root).resolve() / "ray"
        self._cluster = Cluster(execution.cluster)
        if not self._cluster.is_own and not Path(execution.storage_root).is_absolute():
            self._cluster.close()
            raise ConfigError(
                f"execution.storage_root: {execution.storage_root} is relative to a folder that ends with the job",
                expected="the absolute path of a folder that all nodes share",
                remedy="--set storage_root=/absolute/folder, or use jobs/executions/cluster.yaml",
            )
        if not self._cluster.is_own:
            try:
                for told in require_shared(execution):
                    _log.warning(told)
            except BaseException:
                self._cluster.close()
                raise

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
        tables.map_table(plan, worker, pool, on_receipt, on_stall)

    def train(self, job: TrainingJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        self._cluster.require(
            f"training on {workers.least_workers} workers",
            num_cpus=workers.least_workers * workers.num_cpus_per_worker,
            num_gpus=workers.least_workers * workers.num_gpus_per_worker,
        )
        train.train_distributed(job, workers, self._storage / "train", on_progress)

    def tune(self, job: TuningJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        self._cluster.require_on_a_node(
            "tuning the image teacher",
            num_cpus=workers.num_cpus_per_worker,
            num_gpus=workers.num_gpus_per_worker,
        )
        train.tune_alone(job, workers, on_progress)

    def train_many(
        self, jobs: Sequence[TrainingJob], trials: TrialSettings, on_progress: EachProgress, on_done: EachDone
    ) -> None:
        """See `Executor`."""
        self._require_trials(trials)
        train.train_many(jobs, trials, on_progress, on_done)

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult) -> list[TrialResult]:
        """See `Executor`."""
        self._require_trials(trials)
        return search.sweep(job, trials, on_result)

    def _require_trials(self, trials: TrialSettings) -> None:
        self._cluster.require(
            f"{trials.num_workers} trial workers",
            num_cpus=trials.processes * trials.num_cpus_per_worker,
            num_gpus=trials.processes * trials.num_gpus_per_worker,
        )

    def close(self) -> None:
        """Leave or end the cluster."""
        self._cluster.close()
