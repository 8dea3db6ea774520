"""The course of one training: what surrounds its epochs, whoever advances them (a loop of its own, or a pack's).

Reads and writes checkpoints, history, progress, result and students in the run's folder, and metrics in the spool.
Knows nothing of batches or of drivers.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator import distributed
from orchestrator.artifacts.storage import write_json
from orchestrator.tracking.tracker import NullTracker
from orchestrator.training.assembly import Assembled
from orchestrator.training.checkpoint import Checkpoints
from orchestrator.training.loop import Progress
from orchestrator.training.moments import FIRST_STEP_S
from orchestrator.training.notice import Notice, settled, undisturbed
from orchestrator.training.saving import History, Saving
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.student_file import STUDENT, is_student, student_name
from orchestrator.training.watch import Alarms

HISTORY, RESULT, PROGRESS = "history.json", "result.json", "progress.json"
MOMENTS = "first_step.json"  # of the process that trained last


class Course:
    """A training's state on disk and what is told of it. A context: it is left when the last checkpoint is on disk.

    Args:
        made: what is trained; its trainer makes the epochs.
        checkpoints: where its state is kept.
        notice: asked after each step whether the process will soon be taken away.
        settle: returns when what was written is where others see it; called before a checkpoint says that it is done.
    """

    def __init__(
        self,
        made: Assembled,
        checkpoints: Checkpoints,
        notice: Notice = undisturbed,
        settle: Callable[[], None] = settled,
    ) -> None:
        self._settle = settle
        self.job, self.trainer, self._made = made.job, made.trainer, made
        self._folder, self._settings, self._leads = Path(self.job.folder), self.job.training, distributed.rank() == 0
        self._tracker = self.job.tracker() if self._leads else NullTracker()
        self._history: History = []
        self._ends = {*self._settings.extended_from, self._settings.epochs}
        self._judged: dict[str, float] | None = None  # the student as it is now
        self._checkpoints = checkpoints
        self.saving = Saving(checkpoints, self.trainer, notice, self._history)

    def __enter__(self) -> Self:
        self._checkpoints.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpoints.__exit__(kind, error, trace)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.trainer.step_index // self.trainer.batches_per_epoch

    @property
    def is_over(self) -> bool:
        """Whether all steps are made."""
        return self.trainer.step_index >= self.trainer.num_steps

    def resume(self, start: Path | None = None) -> Progress | None:
        """Go on from the newest checkpoint; of one after the last epoch that epoch's progress, to be told again.

        Args:
            start: of another training; where there is no checkpoint of this one yet, it begins with that.
        """
        if start is None:
            self.saving.resume()
        else:
            self.saving.begin_from(start)
        self._alarms = Alarms.after(self._history, self.job.watch.alarms, self._tracker, self.job.run_key)
        if self._leads:
            _remove_students_of_a_shorter_training(self._folder, self._settings)
        if not (self._history and self.is_over):
            return None
        told = {name: value for name, value in self._history[-1].items() if name != "epoch"}
        return Progress(self._settings.epochs, self._settings.epochs, self.trainer.step_index, told)

    def after_epoch(self, progress: Progress) -> Progress:
        """Judge the student where that is due, and keep and tell what the epoch gave."""
        epoch, settings, metrics = progress.epoch, self._settings, dict(progress.metrics)
        self._judged = None
        if epoch in self._ends or epoch % settings.evaluate_every_epochs == 0:
            metrics |= self._judge()
        self._history.append({"epoch": float(epoch), **metrics})
        self._tracker.log_metrics(self.job.run_key, metrics, epoch)
        self._alarms.look(self._history, epoch)
        if self._leads and 0 < settings.epochs - epoch < settings.keep_last_epochs:
            self._made.save_student(student_name(epoch))
        if self._leads:
            self._settle()
        self.saving.after_epoch(metrics, is_due=epoch in self._ends or epoch % settings.checkpoint_every_epochs == 0)
        if self._leads:
            told = {"num_epochs": settings.epochs, **metrics, **self._alarms.number()}
            write_json(self._folder / PROGRESS, {"epoch": epoch, **told})
            if FIRST_STEP_S in metrics:
                moments = self._made.moments
                write_json(self._folder / MOMENTS, {"at": moments.at, "processor_s": moments.processor_s})
        return Progress(epoch, settings.epochs, progress.step, metrics)

    def finish(self) -> None:
        """After the last epoch: the student, its history and its result."""
        result = self._judge()
        if self._leads:
            self._made.save_student(STUDENT)
            write_json(self._folder / HISTORY, self._history)
            write_json(self._folder / RESULT, {"metrics": result, "epochs": self._settings.epochs})
            self._tracker.log_metrics(self.job.run_key, result, self._settings.epochs)

    def _judge(self) -> dict[str, float]:
        if self._judged is None:
            self._judged = self._made.judge()
        return self._judged


def _remove_students_of_a_shorter_training(folder: Path, settings: TrainingSettings) -> None:
    """The students of its last epochs are not of the last epochs of the training that goes on from it."""
    kept = {student_name(epoch) for epoch in range(settings.epochs - settings.keep_last_epochs + 1, settings.epochs)}
    for path in folder.glob("*.safetensors"):
        if is_student(path.name) and path.name not in kept:
            path.unlink()
