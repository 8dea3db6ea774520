"""When a training writes a checkpoint: after epochs, within them by steps and minutes, and when a notice comes.

Writes through `Checkpoints`. Knows nothing of models, of epochs' metrics or of who gives notice.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import distributed
from orchestrator.errors import ConfigError, Stopped
from orchestrator.training.checkpoint import Checkpoints, read_state
from orchestrator.training.loop import Trainer
from orchestrator.training.notice import Notice, Wish

History = list[dict[str, float]]


class Saving:
    """Called after each optimiser step; the first worker saves, because the state is every worker's.

    A state between the last step of an epoch and what follows it cannot be resumed, so a checkpoint that is due then is
    left to `after_epoch`.
    """

    def __init__(self, checkpoints: Checkpoints, trainer: Trainer, notice: Notice, history: History) -> None:
        self._checkpoints, self._trainer, self._notice, self._history = checkpoints, trainer, notice, history
        self._saved_at, self._stops, self._is_due = time.monotonic(), False, False
        self._saved_step = -1

    def resume(self) -> None:
        """Load the newest sound checkpoint, the same on all workers, into trainer and history.

        Raises:
            ArtifactError: the folder holds a run of other settings, or a worker cannot read it.
        """
        leads = distributed.rank() == 0
        self._checkpoints.claim(writes=leads)
        state = self._checkpoints.latest() if leads else None
        step = distributed.number_of_first(-1 if state is None else int(state["step"]))
        if step >= 0:
            state = state or self._checkpoints.at(step)
            self._trainer.load_state(state)
            self._history[:] = state["history"]
            self._saved_step = step

    def begin_from(self, start: Path) -> None:
        """Begin with the state of another training, `step-*.pt`, or go on from own checkpoints of a beginning there.

        Checkpoints of other settings, or of another beginning, are removed from the run's folder.

        Raises:
            ArtifactError: there is no sound checkpoint at `start`.
            ConfigError: it is of another student or optimiser.
        """
        if not self._checkpoints.is_own:
            self._checkpoints.discard()
        self.resume()
        if self._saved_step >= 0:
            return
        state = read_state(start)
        try:
            self._trainer.take_over(state, num_epochs=len(state["history"]))
        except (KeyError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"the training cannot begin from {start}: {str(error).splitlines()[0]}",
                expected="a checkpoint of the same student, losses and optimiser, whatever their values",
            ) from error
        self._history[:] = state["history"]
        self.keep()

    def keep(self) -> Path:
        """Write the state to its folder if it is not there yet, between two epochs; the file, which is then there."""
        if self._saved_step != self._trainer.step_index:
            self._save(
                {name: value for name, value in self._history[-1].items() if name != "epoch"} if self._history else {}
            )
        self._checkpoints.wait()
        return Path(self._checkpoints.path(self._trainer.step_index))

    def __call__(self) -> None:
        """After an optimiser step.

        Raises:
            Stopped: a notice asked for it; the checkpoint is in its folder.
        """
        step, settings = self._trainer.step_index, self._checkpoints.settings
        wish = self._notice()
        self._stops |= wish is Wish.STOP
        minutes = (time.monotonic() - self._saved_at) / 60
        self._is_due |= settings.every_steps is not None and step % settings.every_steps == 0
        self._is_due |= settings.every_minutes is not None and minutes >= settings.every_minutes
        self._is_due |= wish is Wish.SAVE and not self._checkpoints.is_busy
        if step % self._trainer.batches_per_epoch == 0:
            return
        if self._is_due or self._stops:
            self._save(None)
        self.stop_if_told()

    def after_epoch(self, metrics: Mapping[str, float], *, is_due: bool) -> None:
        """After an epoch whose row is in the history."""
        if is_due or self._is_due or self._stops:
            self._save(metrics)

    def stop_if_told(self) -> None:
        """At a moment when all that was told is kept.

        Raises:
            Stopped: a notice asked for it; the checkpoint is in its folder.
        """
        if self._stops:
            self._checkpoints.wait()
            distributed.barrier()
            raise Stopped(self._trainer.step_index)

    def _save(self, metrics: Mapping[str, float] | None) -> None:
        self._saved_at, self._is_due, self._saved_step = time.monotonic(), False, self._trainer.step_index
        if distributed.rank() == 0:
            state: dict[str, Any] = {**self._trainer.state(), "history": self._history}
            self._checkpoints.save(self._trainer.step_index, state, metrics)
