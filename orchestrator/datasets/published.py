"""What published data sets hold, so that an incomplete copy or a wrong list is noticed before anything is paid for.

Holds the counts and one comparison. Sources: methods 1.11, 8 and 9; group sizes of ImageNet-LT and iNaturalist 2018 as
usually cited, with Many above 100 and Few below 20 training images; CIFAR as its authors describe it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orchestrator.vocabulary import FEW_BELOW, MANY_ABOVE, SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

PublishedName = Literal[
    "imagenet_lt", "places_lt", "inaturalist_2018", "cifar_10", "cifar_100", "tiny_imagenet_200", "coco_2017",
    "cub_200_2011", "stanford_cars", "flowers_102", "food_101", "sun_397",
]  # fmt: skip


@dataclass(frozen=True)
class SplitPublished:
    """What the authors' split lists of the OOD protocol hold."""

    num_seen: int
    train: int
    select: int
    unseen: int
    least_unseen: int


@dataclass(frozen=True)
class Published:
    """Published counts; None is not compared.

    Attributes:
        num_classes: classes of all splits; None where a data set has no classes of its own.
        counts: images of each split. Without `select` the images set aside from train count as train.
        total: images of all splits together, of data sets that are published without splits of their own (or whose
            splits the OOD protocol does not use).
        train_range: training images of the rarest and of the most frequent class.
        groups: Many, Medium and Few classes.
        ood: the authors' lists.
    """

    num_classes: int | None
    counts: dict[str, int] = field(default_factory=dict)
    total: int | None = None
    train_range: tuple[int, int] | None = None
    groups: tuple[int, int, int] | None = None
    ood: SplitPublished | None = None


_T, _S, _R = SPLIT_TRAIN, SPLIT_SELECT, SPLIT_REPORT
PUBLISHED: dict[PublishedName, Published] = {
    "imagenet_lt": Published(1000, {_T: 115_846, _S: 20_000, _R: 50_000}, None, (5, 1280), (385, 479, 136)),
    "places_lt": Published(365, {_T: 62_500, _S: 7_300, _R: 36_500}, None, (5, 4980), (131, 163, 71)),
    "inaturalist_2018": Published(8142, {_T: 437_513, _R: 24_426}, None, (2, 1000), (842, 4076, 3224)),
    "cifar_10": Published(10, {_T: 50_000, _R: 10_000}, None, (5000, 5000)),
    "cifar_100": Published(100, {_T: 50_000, _R: 10_000}, None, (500, 500)),
    "tiny_imagenet_200": Published(200, {_T: 100_000, _R: 10_000}, None, (500, 500)),
    "coco_2017": Published(None, {_T: 118_287, _R: 5_000}),
    "cub_200_2011": Published(200, total=11_788, ood=SplitPublished(100, 4_122, 1_740, 5_926, 44)),
    "stanford_cars": Published(196, total=8_144, ood=SplitPublished(98, 2_874, 1_164, 4_106, 30)),
    "flowers_102": Published(102, total=8_189, ood=SplitPublished(51, 3_112, 1_303, 3_774, 40)),
    "food_101": Published(101, total=101_000, ood=SplitPublished(51, 35_700, 15_300, 50_000, 1_000)),
    "sun_397": Published(397, total=108_754, ood=SplitPublished(200, 38_663, 16_444, 53_647, 100)),
}


def mismatches(
    name: PublishedName,
    entries: "Iterable[ImageEntry]",
    num_classes: int,
    *,
    num_seen: int | None = None,
    by_lists: bool = False,
) -> list[str]:
    """What differs from the published data set, in words; empty when nothing does.

    Args:
        name: which data set this should be.
        entries: all images that it lists, those that cannot be read included.
        num_classes: classes that it has.
        num_seen: after the OOD split, how many classes are seen; then only that split is compared.
        by_lists: the split is the authors' own, so that their counts of images must come out too.
    """
    published = PUBLISHED[name]
    per_class: dict[str, Counter[int]] = {_T: Counter(), _S: Counter(), _R: Counter()}
    for _, split, label, *_ in entries:
        per_class[split][label] += 1
    if num_seen is not None:
        return _split_mismatches(published.ood, per_class, num_seen, by_lists) if published.ood is not None else []
    if _S not in published.counts:
        per_class[_T] += per_class[_S]
        per_class[_S] = Counter()
    counts = {split: counter.total() for split, counter in per_class.items()}
    wrong = _differ("classes", num_classes, published.num_classes)
    for split, expected in published.counts.items():
        wrong += _differ(f"{split} images", counts[split], expected)
    wrong += _differ("images", sum(counts.values()), published.total)
    train = [per_class[_T][label] for label in range(num_classes)]
    if published.train_range is not None and train:
        wrong += _differ("training images of the rarest class", min(train), published.train_range[0])
        wrong += _differ("training images of the most frequent class", max(train), published.train_range[1])
    if published.groups is not None:
        many, few = sum(n > MANY_ABOVE for n in train), sum(n < FEW_BELOW for n in train)
        for group, found, expected in zip(
            ("Many", "Medium", "Few"), (many, num_classes - many - few, few), published.groups, strict=True
        ):
            wrong += _differ(f"{group} classes", found, expected)
    return wrong


def _split_mismatches(
    published: SplitPublished, per_class: dict[str, Counter[int]], num_seen: int, by_lists: bool
) -> list[str]:
    wrong = _differ("seen classes", num_seen, published.num_seen)
    if not by_lists:
        return wrong
    unseen: Counter[int] = Counter()
    for counter in per_class.values():  # the support images of the unseen classes are in train, and are unseen too
        unseen.update({label: count for label, count in counter.items() if label >= num_seen})
    train = sum(count for label, count in per_class[_T].items() if label < num_seen)
    wrong += _differ("training images of seen classes", train, published.train)
    wrong += _differ("select images", per_class[_S].total(), published.select)
    wrong += _differ("images of unseen classes", unseen.total(), published.unseen)
    return wrong + _differ("images of the rarest unseen class", min(unseen.values(), default=0), published.least_unseen)


def _differ(what: str, found: int, expected: int | None) -> list[str]:
    return [] if expected is None or found == expected else [f"{found:,} {what}, published {expected:,}"]
