"""A trial that is a Ray Train run of its own, on several workers, inside its proxy; stopped by a word, never by a kill.

Writes the trial's journal. Knows nothing of Ray Tune.
"""

import threading
import time
from pathlib import Path
from typing import Any

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import TrialSettings, WorkerSettings
from orchestrator.errors import OrchestratorError
from orchestrator.executors.protocol import SweepJob
from orchestrator.executors.trial_run import start_trial_run
from orchestrator.on_ray.folders import Folders
from orchestrator.on_ray.preemption import STOP
from orchestrator.on_ray.train import train_distributed
from orchestrator.on_ray.trial_journal import EPOCH, SECONDS, Journal, TrialTurn
from orchestrator.training.run import HISTORY, TrainingJob

POLL_S = 0.2
NOT_METRICS = (EPOCH, "num_epochs", "alarms")


class NestedTrial:
    """Answers a proxy as a trial worker does, with one trial at a time.

    Args:
        storage: of Ray Train.
        folders: how its workers come to the trial's.
    """

    def __init__(self, job: SweepJob, trials: TrialSettings, storage: Path, folders: Folders) -> None:
        self._job, self._storage, self._folders = job, storage, folders
        self._workers = WorkerSettings(
            num_workers=trials.num_train_workers,
            num_cpus_per_worker=trials.num_cpus_per_worker,
            num_gpus_per_worker=trials.num_gpus_per_worker,
        )
        self._thread: threading.Thread | None = None

    def advance(self, turn: TrialTurn, after_epoch: int) -> dict[str, Any]:
        """See `TrialWorker`; the training does not wait to be asked."""
        if self._thread is None:
            self._journal, self._error = Journal(turn.folder(self._job.folder)), ""
            self._epochs = float("inf")
            self._before, self._began = self._journal.seconds, time.monotonic()
            self._thread = threading.Thread(target=self._train, args=(turn,), daemon=True)
            self._thread.start()
        while True:
            is_over = not self._thread.is_alive()
            row = next((row for row in self._journal.rows if row[EPOCH] > after_epoch), None)
            if row is not None and not is_over and row[EPOCH] >= self._epochs:
                time.sleep(POLL_S)  # the last epoch is told with the end: a scheduler would stop what is complete
                continue
            if row is not None:
                is_last = is_over and not self._error and row is self._journal.rows[-1]
                return {"row": row, "has_ended": is_last, "error": ""}
            if is_over:
                return {"row": None, "has_ended": True, "error": self._error}
            time.sleep(POLL_S)

    def let_go(self, turn: TrialTurn) -> None:
        """Stop the training; returns when its workers have ended and their places are free."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            folder = turn.folder(self._job.folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STOP).touch()
            thread.join()

    def _train(self, turn: TrialTurn) -> None:
        try:
            training = self._job.make_job(turn.number, turn.values)
            start_trial_run(self._job, training, turn.number, turn.values)
            train_distributed(training, self._workers, self._storage, self._folders, self._tell)
            self._tell_the_last(training)
        except OrchestratorError as error:
            self._error = str(error)
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"

    def _tell(self, progress: Any) -> None:
        if progress:
            self._epochs = float(progress.get("num_epochs", self._epochs))
            metrics = {name: value for name, value in progress.items() if name not in NOT_METRICS}
            seconds = self._before + time.monotonic() - self._began
            self._journal.add({EPOCH: float(progress[EPOCH]), SECONDS: seconds, **metrics})

    def _tell_the_last(self, training: TrainingJob) -> None:
        """What was told between the last look and the end."""
        path = Path(training.folder) / HISTORY
        for row in read_json(path) if path.is_file() else []:
            self._tell(row)
