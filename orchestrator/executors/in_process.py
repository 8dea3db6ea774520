"""The engine without a cluster: everything in this process, one thing after another. For tests and for debugging.

Reads and writes nothing itself. Knows nothing of Ray.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from orchestrator.config.execution import ActorPoolSettings, TrialSettings, WorkerSettings
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.executors.protocol import (
    EachDone,
    EachProgress,
    OnProgress,
    OnReceipt,
    OnResult,
    SweepJob,
    TableWorker,
    TrialResult,
)
from orchestrator.training.run import TrainingJob, read_progress, train


class InProcessExecutor:
    """One process, no parallelism. A sweep draws at random: searcher and scheduler belong to Ray Tune."""

    def map_table(self, table: pa.Table, worker: TableWorker, pool: ActorPoolSettings, on_receipt: OnReceipt) -> None:
        """See `Executor`."""
        apply = worker.open()
        for start in range(0, table.num_rows, pool.batch_size):
            on_receipt(apply(table.slice(start, pool.batch_size)))

    def train(self, job: TrainingJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        if workers.num_workers != 1:
            raise ConfigError(
                f"execution.training.num_workers: {workers.num_workers}",
                expected="1 with engine in_process",
                remedy="use engine: ray for more workers",
            )
        for _ in train(job):
            on_progress(read_progress(job))

    def train_many(
        self, jobs: Sequence[TrainingJob], trials: TrialSettings, on_progress: EachProgress, on_done: EachDone
    ) -> None:
        """See `Executor`."""
        for index, job in enumerate(jobs):
            try:
                for _ in train(job):
                    on_progress(index, read_progress(job))
            except OrchestratorError as error:
                on_done(index, str(error))
            else:
                on_done(index, "")

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult) -> list[TrialResult]:
        """See `Executor`."""
        generator = random.Random(job.space.searcher.seed)
        drawn = [dict(point) for point in job.space.points][: job.space.num_trials]
        while len(drawn) < job.space.num_trials:
            drawn.append(job.space.sample(generator))
        results = []
        for number, values in enumerate(drawn):
            results.append(_run_trial(job, number, values))
            on_result(results[-1])
        return results

    def close(self) -> None:
        """Nothing was started."""


def _run_trial(job: SweepJob, number: int, values: Mapping[str, Any]) -> TrialResult:
    metrics: dict[str, float] = {}
    epoch = 0
    try:
        training = job.make_job(number, values)
        training.tracker().start_run(
            training.run_key, name=f"trial {number:04d}", parent_key=job.run_key, params=values,
            tags={"kind": "trial", "sweep": job.space.name, "trial": str(number)},
        )  # fmt: skip
        for progress in train(training):
            metrics |= progress.metrics
            epoch = progress.epoch
    except OrchestratorError as error:
        return TrialResult(number, values, metrics, epoch, "failed", str(error))
    return TrialResult(number, values, metrics, epoch, "finished")
