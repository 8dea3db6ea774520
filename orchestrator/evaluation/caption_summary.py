"""Measures of captions in sum: by prompt, class and frequency group; histograms; which images a gallery shows.

Holds pure functions over the table of `measure_captions` with columns `image_id`, `prompt`, `label` and `group` beside
it. Reads and writes nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.evaluation.caption_quality import FLAGS

if TYPE_CHECKING:
    import pandas as pd

DISTRIBUTIONS = ("words", "characters", "repeated_fraction", "clip_score")
QUANTILES = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
NUM_BINS = 30
FAULTS = ("empty", "repeats", "cut_off", "duplicate_across_classes")


def summarise(measured: "pd.DataFrame", by: Sequence[str]) -> "pd.DataFrame":
    """One row for each combination of `by` that occurs, sorted: counts, shares (0..1), means and quantiles.

    Columns: `captions`, `scored` (with a CLIP score), a share for each of `FLAGS`, `longest_run_max`, and for each of
    `DISTRIBUTIONS` its `_mean`, `_p05`, `_p25`, `_median`, `_p75`, `_p95`; NaN where nothing was measured. An empty
    table gives an empty one.
    """
    import pandas as pd

    grouped = measured.groupby(list(by), sort=True, observed=True)
    parts: dict[str, Any] = {"captions": grouped.size(), "scored": grouped["clip_score"].count()}
    shares = measured[list(FLAGS)].astype(np.float64).groupby([measured[name] for name in by], observed=True).mean()
    parts |= {name: shares[name] for name in FLAGS}
    parts["longest_run_max"] = grouped["longest_run"].max()
    for name in DISTRIBUTIONS:
        values = measured[name].astype(np.float64).groupby([measured[key] for key in by], observed=True)
        parts[f"{name}_mean"] = values.mean()
        parts |= {f"{name}_{word}": values.quantile(quantile) for word, quantile in QUANTILES.items()}
    return pd.DataFrame(parts)


def worst_classes(by_class: "pd.DataFrame", number: int) -> "pd.DataFrame":
    """The `number` classes of one prompt with the worst captions, worst first; rows of `summarise`, indexed by label.

    Worst is the lowest mean CLIP score; where no class has one, the lowest share that names the class, and among equals
    the highest share of captions that another class has too. The label decides what is still equal.
    """
    if by_class["clip_score_mean"].notna().any():
        known = by_class[by_class["clip_score_mean"].notna()]
        return known.sort_values("clip_score_mean", kind="stable").head(number)
    order = ["names_class", "duplicate_across_classes"]
    return by_class.sort_values(order, ascending=[True, False], kind="stable").head(number)


def histogram(values: npt.NDArray[Any], edges: npt.NDArray[np.float64]) -> list[float]:
    """Share of the values, 0..1, in each bin; NaNs are left out; zeros without a value."""
    known = values[~np.isnan(values)]
    counts, _ = np.histogram(known, edges)
    return [float(share) for share in counts / max(len(known), 1)]


def bin_edges(values: npt.NDArray[Any], *, whole: bool) -> npt.NDArray[np.float64]:
    """Edges of at most 30 bins over all values: between whole numbers, or at equal parts; [0, 1] without a value."""
    known = values[~np.isnan(values.astype(np.float64))]
    if not len(known):
        return np.array([0.0, 1.0])
    low, high = float(known.min()), float(known.max())
    if whole:
        width = max(1, int(np.ceil((high - low + 1) / NUM_BINS)))
        return np.arange(low, high + width + 0.5, width) - 0.5
    return np.linspace(low, high, NUM_BINS + 1) if high > low else np.array([low - 0.05, low + 0.05])


class Example(NamedTuple):
    """An image of the gallery, its group, and why it was chosen."""

    image_id: str
    group: str
    why: str


def choose_examples(
    measured: "pd.DataFrame", groups: Iterable[str], *, num_each: int, num_random: int
) -> list[Example]:
    """Images of each group: the best, median and worst by CLIP score, then others by lot; no image twice.

    An image's score is the mean over its prompts. Without any score, `num_each` images with the most faults stand for
    the worst. The lot is drawn by a hash of the image id, so that the same captions give the same gallery.
    """
    examples: list[Example] = []
    for group in groups:
        rows = measured[measured["group"] == group].assign(faults=lambda part: part[list(FAULTS)].sum(axis=1))
        images = rows.groupby("image_id", sort=True).agg(score=("clip_score", "mean"), faults=("faults", "sum"))
        scored = images[images["score"].notna()].sort_values("score", kind="stable")
        middle = max(0, (len(scored) - num_each) // 2)
        picks: list[tuple[str, Sequence[str]]] = [
            ("best by CLIP score", list(scored.index[::-1][:num_each])),
            ("worst by CLIP score", list(scored.index[:num_each])),
            ("median by CLIP score", list(scored.index[middle : middle + num_each])),
        ]
        if scored.empty:
            flawed = images[images["faults"] > 0].sort_values("faults", ascending=False, kind="stable")
            picks = [("most faults", list(flawed.index[:num_each]))]
        lots = sorted(images.index, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())
        taken: set[str] = set()
        chosen: list[Example] = []
        for why, names in picks:
            chosen += [Example(name, group, why) for name in names if name not in taken]
            taken |= set(names)
        chosen += [Example(name, group, "by lot") for name in [lot for lot in lots if lot not in taken][:num_random]]
        examples += chosen
    return examples
