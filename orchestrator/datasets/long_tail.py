"""Long tails: which training images of a balanced data set are kept so that classes become rare in a known way.

Holds the settings of `dataset.long_tail` and two profiles. Pure functions of names and counts.
"""

from collections import Counter
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.datasets.draws import ranked
from orchestrator.errors import DataError
from orchestrator.frozen import Frozen
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, ImageEntry


class LongTailSettings(Frozen):
    """Class of rank c of C keeps n_c training images; rank 0 is the most frequent.

    `exponential` (Cui et al., CVPR 2019): n_c = int(n_max * ratio^(c / (C - 1))).
    `pareto` (after ImageNet-LT of Liu et al., CVPR 2019, who name a Pareto distribution with power 6 and no formula):
    the quantiles of the Lomax distribution, Q(u) = u^(-1/alpha) - 1 at u = (c + 1) / C, stretched to both ends:
    n_c = int(n_min + (n_max - n_min) * Q((c + 1) / C) / Q(1 / C)) with n_min = n_max * ratio. With 1,000 classes, 1,280
    to 5 images and alpha 6 that is 121,449 images, 404 Many, 456 Medium and 140 Few; the published draw has 115,846,
    385, 479 and 136.

    `ratio` is the rarest class over the most frequent one, `imbalance` its inverse: give one. `max_per_class` null is
    what the largest class has. A class that has fewer images than its n_c keeps all. Ranks follow the labels, or are
    drawn by the seed. Which images are kept depends on the seed and their ids only, and a longer tail keeps a subset.
    Only the training split of the seen classes is thinned.
    """

    profile: Literal["exponential", "pareto"] = Field(
        default="exponential", description="how counts fall from the most frequent class to the rarest"
    )
    ratio: float | None = Field(default=None, gt=0, le=1)
    imbalance: float | None = Field(default=None, ge=1)
    max_per_class: int | None = Field(default=None, ge=1)
    alpha: float = Field(default=6.0, gt=0, description="power of the Pareto distribution")
    order: Literal["label", "shuffled"] = Field(
        default="label", description="which class has which rank: by label, or drawn by the seed"
    )
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_ratio(self) -> Self:
        if (self.ratio is None) == (self.imbalance is None):
            raise ValueError("give either ratio (rarest over most frequent, 0.01) or imbalance (its inverse, 100)")
        return self

    def counts(self, num_classes: int, max_per_class: int) -> tuple[int, ...]:
        """n_c of every rank c, most frequent first."""
        ratio = self.ratio if self.ratio is not None else 1 / (self.imbalance or 1.0)
        if self.profile == "exponential":
            return tuple(int(max_per_class * ratio ** (c / max(num_classes - 1, 1))) for c in range(num_classes))
        lowest, top = max_per_class * ratio, self._quantile(1 / num_classes)
        shares = [self._quantile((c + 1) / num_classes) / top if top else 1.0 for c in range(num_classes)]
        return tuple(int(lowest + (max_per_class - lowest) * share + 1e-9) for share in shares)

    def _quantile(self, tail: float) -> float:
        return float(tail ** (-1 / self.alpha) - 1)

    def apply(self, entries: "list[ImageEntry]", classes: "list[ClassEntry]") -> "tuple[list[ImageEntry], list[str]]":
        """The entries that are kept, and what the user should know. `classes` are those to be thinned, by label.

        Raises:
            DataError: some class would keep no image.
        """
        thinned = {label for label, _, _ in classes}
        of_class: dict[int, list[str]] = {label: [] for label in sorted(thinned)}
        for image_id, split, label, *_ in entries:
            if split == SPLIT_TRAIN and label in thinned:
                of_class[label].append(image_id)
        largest = max((len(image_ids) for image_ids in of_class.values()), default=0)
        wanted = self.counts(len(classes), self.max_per_class if self.max_per_class is not None else largest)
        if not wanted or min(wanted) < 1:
            raise DataError(
                f"long_tail: {sum(count < 1 for count in wanted)} of {len(wanted)} classes would keep no image",
                expected="at least one training image of each class",
                remedy="raise long_tail.ratio (or lower imbalance), or raise long_tail.max_per_class",
            )
        kept: set[str] = set()
        short = Counter[str]()
        for count, label in zip(wanted, self._order(classes), strict=True):
            kept.update(ranked(of_class[label], f"long_tail {self.seed}")[:count])
            short["classes"] += len(of_class[label]) < count
        told = [f"long_tail: {short['classes']:,} of {len(classes):,} classes have fewer training images than their "
                "place in the profile asks for, and keep all"] * bool(short["classes"])  # fmt: skip
        left = [row for row in entries if row[1] != SPLIT_TRAIN or row[2] not in thinned or row[0] in kept]
        return left, told

    def _order(self, classes: "list[ClassEntry]") -> list[int]:
        """Labels, most frequent first."""
        if self.order == "label":
            return sorted(label for label, _, _ in classes)
        names = {f"{name} {label}": label for label, name, _ in classes}
        return [names[name] for name in ranked(names, f"long_tail order {self.seed}")]
