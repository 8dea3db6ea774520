"""Differences between two configurations: over the seeds that both were trained on, and over the images both saw.

Holds formulas. Reads and writes nothing.

The two intervals answer two questions. Over images the students are fixed and the images are drawn anew: are these two
*students* different? Over seeds both are trained again: are these two *settings* different? The second is the harder
one, and one pair of students cannot answer it.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.evaluation.shot_accuracy import shot_groups

Values = npt.NDArray[np.float64]
NUM_RESAMPLES = 2000  # the ends of a 95 % interval then lie within about 3 % of its half width


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


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval; all NaN where there is nothing to measure.

    Attributes:
        num_nonzero: images that the value comes from: of a paired difference, those that one alone gets right.
        confidence: of the interval.
    """

    value: float
    low: float
    high: float
    num_nonzero: int = 0
    confidence: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or below zero, of a difference; one that touches zero does not.

        Of fewer images than an exact test could ever decide by (six for 95 %: a fair coin falls six times on one side
        in 2 / 2^6 = 3 % of all cases) none does: resampling them shows no spread, and that is not certainty.
        """
        return 2 * 0.5**self.num_nonzero < 1 - self.confidence and (self.low > 0 or self.high < 0)


def bootstrap_accuracy(
    outcomes: npt.ArrayLike,
    labels: npt.ArrayLike,
    train_count: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals over images of `all`, `mean_per_class`, `many`, `medium` and `few`.

    Images are drawn within each class, because how many a split has of each is a choice and not chance; of the n images
    of a class n - 1 are drawn, with replacement, which makes the variance of the class's mean the unbiased one (Rao and
    Wu 1988, JASA 83; drawing n gives (n - 1)/n of it, 20 % too little with five images). Classes with one image are
    drawn from all such classes of their group together (collapsed strata: the spread is rather too large). The draw of
    one class is a multinomial one over the values that occur in it, so no image is copied.

    Args:
        outcomes: [N] of each image 1 for right and 0 for wrong; for a paired difference, the first's minus the
            second's (-1, 0, 1); for several seeds, the mean of that over the seeds.
        labels: [N] classes, 0 to C - 1.
        train_count: [C] training images of each class, which make the groups (see `shot_accuracy`).
        seed: of the draws; the same arguments give the same intervals.
    """
    values = np.asarray(outcomes, np.float64)
    classes, trained = np.asarray(labels, np.int64), np.asarray(train_count, np.int64)
    assert len(values) == len(classes), "one outcome for each image"
    if not len(values):
        nothing = Interval(math.nan, math.nan, math.nan)
        return dict.fromkeys(("all", "mean_per_class", "many", "medium", "few"), nothing)
    present, position, count = np.unique(classes, return_inverse=True, return_counts=True)
    of_class = np.bincount(position, weights=values) / count
    generator = np.random.default_rng(seed)
    groups = np.asarray(shot_groups(trained[present]))
    drawn = np.empty((num_resamples, len(present)))
    for at in range(len(present)):
        alone = (count == 1) & (groups == groups[at])
        pool = of_class[alone] if count[at] == 1 else values[position == at]
        drawn[:, at] = _draw_means(pool, max(1, count[at] - 1), num_resamples, generator)
    weights = {"all": count / count.sum(), "mean_per_class": np.full(len(present), 1 / len(present))}
    for name in ("many", "medium", "few"):
        chosen = groups == name
        weights[name] = chosen / chosen.sum() if chosen.any() else np.full(len(present), math.nan)
    tail = (1 - confidence) / 2
    nonzero = np.bincount(position, weights=values != 0)
    found = {}
    for name, weight in weights.items():
        value = float(of_class @ weight)
        low, high = (math.nan, math.nan) if math.isnan(value) else np.quantile(drawn @ weight, (tail, 1 - tail))
        decided_by = 0 if math.isnan(value) else int(nonzero[weight > 0].sum())
        found[name] = Interval(value, float(low), float(high), decided_by, confidence)
    return found


def _draw_means(values: Values, size: int, num_resamples: int, generator: np.random.Generator) -> Values:
    """[R] means of `size` draws with replacement from the values."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        return np.full(num_resamples, distinct[0])
    found: Values = generator.multinomial(size, counts / len(values), size=num_resamples) @ distinct / size
    return found


@dataclass(frozen=True)
class ClassWinner:
    """One class: images that only the first, and only the second, gets right, and the share of chance.

    Attributes:
        p_value: exact two-sided McNemar test: how often a fair coin thrown `first_only + second_only` times would fall
            at least so unevenly; 1 without a discordant image.
        adjusted: Benjamini and Hochberg's, over all classes that were compared.
        winner: 1 or 2 where the adjusted value is below one minus the confidence, else 0.
    """

    label: int
    images: int
    first_only: int
    second_only: int
    p_value: float
    adjusted: float
    winner: int


def class_winners(
    first_right: npt.ArrayLike, second_right: npt.ArrayLike, labels: npt.ArrayLike, confidence: float = 0.95
) -> list[ClassWinner]:
    """Which of two students is better in which class, by the images that only one gets right.

    With many classes some differ by chance alone; so p-values are adjusted such that, of the winners that are named, at
    most one minus the confidence are expected to be false (Benjamini and Hochberg 1995).

    Args:
        first_right, second_right: [N] booleans.
        labels: [N].
    """
    from scipy.stats import binomtest, false_discovery_control

    first, second, classes = np.asarray(first_right, bool), np.asarray(second_right, bool), np.asarray(labels, np.int64)
    rows = []
    for label in np.unique(classes):
        here = classes == label
        only_first, only_second = int((first & ~second & here).sum()), int((second & ~first & here).sum())
        discordant = only_first + only_second
        p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
        rows.append((int(label), int(here.sum()), only_first, only_second, p_value))
    adjusted = false_discovery_control([row[-1] for row in rows]) if rows else []
    return [
        ClassWinner(*row, float(value), 0 if value >= 1 - confidence else 1 if row[2] > row[3] else 2)
        for row, value in zip(rows, adjusted, strict=True)
    ]


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> tuple[int, int, float]:
    """(images only the first gets right, only the second, exact two-sided p-value) over all images."""
    whole = class_winners(first_right, second_right, np.zeros(len(np.asarray(first_right)), np.int64))
    return (whole[0].first_only, whole[0].second_only, whole[0].p_value) if whole else (0, 0, 1.0)
