"""Many / Medium / Few: accuracy in three groups of classes by their number of training images.

Holds one formula and how its values are written for people. Reads and writes nothing. Knows nothing of models.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.vocabulary import FEW_BELOW, MANY_ABOVE


def shot_accuracy(
    correct: ArrayLike, total: ArrayLike, train_count: ArrayLike, *, empty_group: float = math.nan
) -> dict[str, float]:
    """Accuracies as fractions 0..1, from per-class counts, each [C] (Liu et al. 2019; methods, section 9).

    correct: right answers per class; total: evaluated images per class; train_count: training images per class.
    `all` is right answers over images; `mean_per_class` the mean of the classes' accuracies; `many`, `medium`, `few`
    the same mean over classes with more than 100, 20 to 100, fewer than 20 training images. Classes without an
    evaluated image are left out. An empty group gives `empty_group`: NaN, shown as n/a; the official codes give 0.
    """
    right, number, trained = (np.asarray(values, dtype=np.int64) for values in (correct, total, train_count))
    assert right.shape == number.shape == trained.shape, "one number for each class"
    evaluated = number > 0
    per_class = right[evaluated] / number[evaluated]
    trained = trained[evaluated]
    groups = {
        "mean_per_class": np.ones_like(trained, dtype=bool),
        "many": trained > MANY_ABOVE,
        "medium": (trained >= FEW_BELOW) & (trained <= MANY_ABOVE),
        "few": trained < FEW_BELOW,
    }
    overall = float(right.sum() / number.sum()) if evaluated.any() else empty_group
    means = {name: float(per_class[group].mean()) if group.any() else empty_group for name, group in groups.items()}
    return {"all": overall, **means}


def shot_groups(train_count: ArrayLike) -> list[str]:
    """`many`, `medium` or `few` for each class, by its number of training images (bounds as in `shot_accuracy`)."""
    trained = np.asarray(train_count, dtype=np.int64)
    return [str(name) for name in np.select([trained > MANY_ABOVE, trained < FEW_BELOW], ["many", "few"], "medium")]


def as_percent(accuracy: float) -> str:
    """A fraction as a percentage with one decimal; n/a for NaN, the accuracy of an empty group."""
    return "n/a" if math.isnan(accuracy) else f"{100 * accuracy:.1f}"
