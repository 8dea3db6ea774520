"""The moving average of a student's weights. Reads and writes nothing; knows nothing of how the student is trained."""

from typing import Any

from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from orchestrator.students.networks.student import Student
from orchestrator.training.settings import EmaSettings


class StudentAverage:
    """See `EmaSettings`; timm's ModelEmaV3 does the work. All workers compute the same average, each for itself."""

    def __init__(self, student: Student, settings: EmaSettings) -> None:
        self._average = ModelEmaV3(student, decay=settings.decay, use_warmup=settings.warmup)

    @property
    def student(self) -> Student:
        """The averaged student, in evaluation mode."""
        averaged: Student = self._average.module
        return averaged

    def update(self, student: Student, num_steps: int) -> None:
        """Follow the student after its step number `num_steps`, from 1."""
        self._average.update(student, num_steps)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights and statistics."""
        state: dict[str, Any] = self._average.module.state_dict()
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`."""
        self._average.module.load_state_dict(state)
