"""A loss weight's schedule: a factor over the course of a training.

Holds settings and what follows from them. Reads and writes nothing.
"""

import math
from bisect import bisect_right
from typing import Literal

from pydantic import Field, field_validator

from orchestrator.frozen import Frozen


class WeightSchedule(Frozen):
    """Factor of a loss's weight at points of the training, `[[fraction, factor], ...]`, fraction 0 to 1 rising.

    Before the first point its factor holds, after the last one its. In between: `linear`, `cosine` (half a period), or
    `step` (the factor of the point before). `[[0, 0], [0.2, 1]]` is a warm-up over a fifth of the training.
    """

    points: tuple[tuple[float, float], ...] = Field(
        min_length=1, description="[[fraction of the training, factor], ...], the fractions rising from 0 to 1"
    )
    interpolation: Literal["linear", "cosine", "step"] = Field(
        default="linear", description="between two points: linear, half a cosine, or the factor of the point before"
    )

    @field_validator("points")
    @classmethod
    def _points_rise(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        fractions = [fraction for fraction, _ in points]
        if any(not 0 <= fraction <= 1 for fraction in fractions) or fractions != sorted(set(fractions)):
            raise ValueError(f"fractions must rise from 0 to 1, got {fractions}")
        if any(factor < 0 for _, factor in points):
            raise ValueError("factors must not be negative")
        return points

    def factor(self, fraction: float) -> float:
        """The factor when this share (0..1) of the training is over."""
        after = bisect_right([at for at, _ in self.points], fraction)
        if after == 0 or after == len(self.points) or self.interpolation == "step":
            return self.points[max(after - 1, 0)][1]
        (left, first), (right, last) = self.points[after - 1], self.points[after]
        share = (fraction - left) / (right - left)
        if self.interpolation == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return first + share * (last - first)
