"""Thresholds applied to captions: which are kept, and for each dropped one the reasons.

Holds pure functions. Reads and writes nothing. Knows nothing of text sources and of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orchestrator.captioners.quality_thresholds import CaptionThresholds
from orchestrator.evaluation.caption_quality import Floats, Integers, measure_captions

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What thresholds say of N captions.

    Attributes:
        present: [N] whether there is a caption at all.
        fails: threshold -> [N] whether a present caption fails it; a caption may fail several.
    """

    present: Mask
    fails: dict[str, Mask]

    @property
    def dropped(self) -> Mask:
        """[N] present, and fails at least one."""
        return np.any([np.zeros_like(self.present), *self.fails.values()], axis=0)

    @property
    def kept(self) -> Mask:
        """[N] present, and fails none."""
        return self.present & ~self.dropped

    def first_failed(self) -> dict[str, Mask]:
        """Threshold -> [N] whether it is the first that the caption fails: these part the dropped ones, none twice."""
        told = np.zeros_like(self.present)
        found = {}
        for name, mask in self.fails.items():
            found[name] = mask & ~told
            told |= mask
        return found


def apply_thresholds(
    thresholds: CaptionThresholds,
    captions: Sequence[str | None],
    labels: Integers,
    class_names: Sequence[str],
    cosine: Floats | None = None,
) -> Verdict:
    """Judge the captions of one prompt, one for each of N images of `labels`, None where there is none.

    `cosine` [N], of caption and own image, is needed for `min_clip_score`; a caption whose cosine is NaN fails it.
    """
    present = np.array([caption is not None for caption in captions], dtype=bool)
    rows = np.flatnonzero(present)
    said = [caption for caption in captions if caption is not None]
    measured = measure_captions(
        said, [""] * len(rows), np.asarray(labels)[rows], class_names, None if cosine is None else cosine[rows]
    )
    asked = thresholds.in_use()
    assert cosine is not None or "min_clip_score" not in asked, "min_clip_score needs the cosines"
    fails = {}
    for name in asked:
        mask = np.zeros_like(present)
        mask[rows] = _fails(name, thresholds, measured)
        fails[name] = mask
    return Verdict(present, fails)


def _fails(name: str, thresholds: CaptionThresholds, measured: "pd.DataFrame") -> Mask:
    if name == "must_name_class":
        return ~measured["names_class"].to_numpy()
    if name == "drop_duplicates_across_classes":
        return measured["duplicate_across_classes"].to_numpy()
    value = getattr(thresholds, name)
    if name == "min_clip_score":
        return ~(measured["clip_score"].to_numpy() >= value)
    if name == "min_words":
        return measured["words"].to_numpy() < value
    column = {"max_words": "words", "max_repeated_fraction": "repeated_fraction"}[name]
    return measured[column].to_numpy() > value
