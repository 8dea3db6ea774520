"""Differences between two configurations trained on the same seeds, with a confidence interval.

Holds formulas. Reads and writes nothing.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PairedDifference:
    """Mean of the paired differences, half the width of its interval, and the number of pairs."""

    mean: float
    half_width: float
    num_pairs: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or below zero."""
        return abs(self.mean) > self.half_width


def paired_difference(
    values: Sequence[float], references: Sequence[float], confidence: float = 0.95
) -> PairedDifference:
    """Student's t interval of the mean of `values[i] - references[i]` (pair i shares its seeds).

    With fewer than two pairs the interval is infinite.
    """
    from scipy.stats import sem, t

    differences = [value - reference for value, reference in zip(values, references, strict=True)]
    count, mean = len(differences), statistics.fmean(differences)
    half_width = float(t.ppf((1 + confidence) / 2, count - 1) * sem(differences)) if count > 1 else math.inf
    return PairedDifference(mean, half_width, count)
