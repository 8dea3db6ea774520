"""Accuracy of a classifier on corrupted copies of its test images, which are made on the fly.

Reads nothing itself (pixels may be memory-mapped). Knows nothing of models: it asks a function for classes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

import numpy as np
import numpy.typing as npt

from orchestrator.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Pixels, corrupt
from orchestrator.evaluation.predict import Frames

Predict = Callable[[Pixels], npt.NDArray[np.integer]]  # [n, S, S, 3] uint8 -> [n] classes


def robustness(
    predict: Predict,
    pixels: Frames,
    label: npt.NDArray[np.integer],
    image_ids: Sequence[str],
    *,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """Accuracies, 0..1, under each corruption.

    Args:
        predict: the classifier, from pixels to classes.
        pixels: [N, S, S, 3] uint8; label, image_ids: [N].
        kinds, severities: of `corruptions`.

    Returns:
        `clean_acc`; `KIND_S_acc` for each kind and severity S; `KIND_acc`, the mean over severities;
        `mean_corruption_acc`, the mean of those over kinds; `corruption_drop` = clean - mean.
    """
    assert pixels.shape[0] == len(label) == len(image_ids) > 0
    assert kinds
    assert severities

    def accuracy(change: Callable[[Pixels, Sequence[str]], Pixels]) -> float:
        right = 0
        for start in range(0, len(label), batch_size):
            rows = slice(start, start + batch_size)
            right += int((predict(change(np.asarray(pixels[rows]), image_ids[rows])) == label[rows]).sum())
        return right / len(label)

    found = {"clean_acc": accuracy(_unchanged)}
    for kind in kinds:
        for severity in severities:
            found[f"{kind}_{severity}_acc"] = accuracy(partial(corrupt, kind=kind, severity=severity, seed=seed))
        found[f"{kind}_acc"] = fmean(found[f"{kind}_{severity}_acc"] for severity in severities)
    found["mean_corruption_acc"] = fmean(found[f"{kind}_acc"] for kind in kinds)
    found["corruption_drop"] = found["clean_acc"] - found["mean_corruption_acc"]
    return found


def _unchanged(pixels: Pixels, _: Sequence[str]) -> Pixels:
    return pixels
