"""What is watched while a student is trained, and when a change is an alarm. Changes nothing of the student.

Holds settings. Reads and writes nothing; the rules are in alarms.py.
"""

import math
from typing import Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen


class AlarmSettings(Frozen):
    """Which metrics are watched (shell patterns), and when a change counts. Accuracies are fractions, 0..1.

    Attributes:
        training: training accuracy. Without such a metric a falling `training_loss` stands in, its change as a
            fraction of its value at the window's start.
        held_out: accuracies that must not fall while training improves.
        ood: accuracies on unseen classes, which should rise when coherence does. While a student is trained there is
            that on validation classes; without any, `select/mean_per_class`, which that replaces, stands in.
        coherence: M_rel and M_neigh.
        kept: fractions of images that a filter keeps.
        window: epochs with values that a trend is read from; a shorter history raises no trend alarm.
        least_change: over the window, to count as a rise or a fall.
        significance: of the trend test.
        least_kept: below it a filter keeps too little.
    """

    training: tuple[str, ...] = ("train/accuracy", "train/acc")
    training_loss: str = "train/loss"
    held_out: tuple[str, ...] = ("ood*/mean_per_class", "id_val*/mean_per_class", "select*/mean_per_class")
    ood: tuple[str, ...] = ("ood*/mean_per_class", "select/mean_per_class")
    coherence: tuple[str, ...] = ("*/m_rel", "*/m_neigh")
    kept: tuple[str, ...] = ("train/*.kept_fraction",)
    window: int = Field(default=10, ge=5)
    least_change: float = Field(default=0.01, gt=0, le=1)
    significance: float = Field(default=0.001, gt=0, le=0.5)
    least_kept: float = Field(default=0.25, ge=0, le=1)

    @model_validator(mode="after")
    def _a_trend_can_be_certain(self) -> Self:
        if 1 / math.factorial(self.window) >= self.significance:
            raise ValueError(f"no trend over {self.window} epochs reaches a significance of {self.significance:g}")
        return self


class WatchSettings(Frozen):
    """M_rel and M_neigh of the selection split in each evaluation of a training, and the alarms over its history.

    They are measured where a loss reads the image teacher, on at most `coherence_images` evenly spaced images: one more
    forward pass of these, and the products of their embeddings with one another. A student without an embedding in the
    teacher's space has M_neigh alone, of its feature. 0 measures nothing.
    """

    coherence_images: int = Field(default=1000, ge=0)
    alarms: AlarmSettings = Field(default=AlarmSettings(), description="what raises an alarm, and how surely")
