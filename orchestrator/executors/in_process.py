"""The engine without a cluster: everything in this process, one thing after another. For tests and for debugging.

Reads and writes nothing itself. Knows nothing of Ray.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.execution import ActorPoolSettings, TrialSettings, WorkerSettings
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.executors.micro_batches import MicroBatches
from orchestrator.executors.protocol import (
    EachDone,
    EachProgress,
    OnProgress,
    OnReceipt,
    OnResult,
    OnStall,
    SweepJob,
    TableWorker,
    TrialResult,
)
from orchestrator.executors.trial_run import start_trial_run
from orchestrator.training.notice import TerminationNotice
from orchestrator.training.run import TrainingJob, read_progress, train
from orchestrator.training.tune import TuningJob, tune


class InProcessExecutor:
    """One process, no parallelism. A sweep draws at random: searcher and scheduler belong to Ray Tune."""

    def map_table(
        self, plan: Path, worker: TableWorker, pool: ActorPoolSettings, on_receipt: OnReceipt, on_stall: OnStall
    ) -> None:
        """See `Executor`; one micro-batch after the other, so a model that hangs hangs the command."""
        apply = worker.open(own_process=False)
        for rows in MicroBatches(plan):
            on_receipt(apply(worker.fetch(rows)))

    def train(self, job: TrainingJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        if workers.least_workers != 1:
            raise ConfigError(
                f"execution.training.num_workers: {workers.shown}",
                expected="1 (or a range from 1) with engine in_process",
                remedy="use engine: ray for more workers",
            )
        with TerminationNotice() as notice:
            for _ in train(job, notice=notice):
                on_progress(read_progress(job))

    def tune(self, job: TuningJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """See `Executor`."""
        for _ in tune(job):
            on_progress(read_progress(job))

    def train_many(
        self, jobs: Sequence[TrainingJob], trials: TrialSettings, on_progress: EachProgress, on_done: EachDone
    ) -> None:
        """See `Executor`."""
        for index, job in enumerate(jobs):
            try:
                with TerminationNotice() as notice:
                    for _ in train(job, notice=notice):
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
        start_trial_run(job, training, number, values)
        with TerminationNotice() as notice:
            for progress in train(training, notice=notice):
                metrics |= progress.metrics
                epoch = progress.epoch
    except OrchestratorError as error:
        return TrialResult(number, values, metrics, epoch, "failed", str(error))
    return TrialResult(number, values, metrics, epoch, "finished")
