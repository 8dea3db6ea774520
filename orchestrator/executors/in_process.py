"""The engine without a cluster: everything in this process, one thing after another. For tests and for debugging.

Reads and writes a sweep's own files alone. Knows nothing of Ray.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import ActorPoolSettings, TrialSettings, WorkerSettings
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.executors.micro_batches import MicroBatches
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
from orchestrator.executors.trial_run import start_trial_run
from orchestrator.search.schedulers import NoSchedulerSettings, Pb2Settings, PbtSettings
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.trial import Status, TrialResult
from orchestrator.training.notice import TerminationNotice
from orchestrator.training.pack import packs_of, train_together
from orchestrator.training.run import HISTORY, TrainingJob, read_progress, train
from orchestrator.training.tune import TuningJob, tune

EPOCH = "epoch"


class InProcessExecutor:
    """One process, no parallelism. A sweep's trials all run to their end: schedulers belong to Ray Tune."""

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
        for places in packs_of(jobs, trials.trials_per_worker):
            place_of = {jobs[place].run_key: place for place in places}
            with TerminationNotice() as notice:
                for told in train_together([jobs[place] for place in places], notice):
                    place = place_of[told.run_key]
                    on_progress(place, read_progress(jobs[place]))
                    if told.finished or told.error:
                        on_done(place, told.error)

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult, on_event: OnEvent) -> list[TrialResult]:
        """See `Executor`."""
        scheduler = job.space.scheduler
        if isinstance(scheduler, PbtSettings | Pb2Settings):
            raise ConfigError(
                f"search space {job.space.name}: scheduler {scheduler.kind} needs trials that run side by side",
                expected="scheduler none, asha, hyperband or median with engine in_process",
                remedy="use engine: ray",
            )
        if not isinstance(scheduler, NoSchedulerSettings):
            on_event(f"in process every trial runs to its end: scheduler {scheduler.kind} belongs to engine ray")
        found, proposer = SweepFolder(job.folder), job.proposer()
        for number, values in found.waiting().items():
            _run_trial(job, found, number, values, trials, on_result)
        while not job.used_up(found):
            number = len(found.suggested())
            proposed = proposer.propose(number, found.ended().values())
            if proposed is None:
                break
            found.suggest(number, proposed)
            _run_trial(job, found, number, proposed, trials, on_result)
        return list(found.ended().values())

    def close(self) -> None:
        """Nothing was started."""


def _run_trial(
    job: SweepJob,
    found: SweepFolder,
    number: int,
    values: Mapping[str, Any],
    trials: TrialSettings,
    on_result: OnResult,
) -> None:
    """Train one trial, from its last checkpoint where there is one, and keep how it ended."""
    started_s, history = found.elapsed_s, list[Mapping[str, float]]()

    def result(status: Status, error: str = "") -> TrialResult:
        metrics = {name: value for row in history for name, value in row.items() if name != EPOCH}
        seconds, epochs = found.elapsed_s - started_s, int(history[-1][EPOCH]) if history else 0
        return TrialResult(
            number, values, metrics, epochs, status, error, tuple(history), seconds,
            seconds * trials.num_cpus_per_worker, seconds * trials.num_gpus_per_worker,
        )  # fmt: skip

    try:
        training = job.make_job(number, values)
        start_trial_run(job, training, number, values)
        with TerminationNotice() as notice:
            for progress in train(training, notice=notice):
                history.append({EPOCH: float(progress.epoch), **progress.metrics})
                found.tick()
                on_result(result("running"))
        history[:] = read_json(Path(training.folder) / HISTORY)  # of all epochs, those before a restart too
    except OrchestratorError as error:
        ended = result("failed", str(error))
    else:
        ended = result("finished")
    found.end(ended)
    on_result(ended)
