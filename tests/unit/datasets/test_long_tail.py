"""Long tails: the published totals of CIFAR-LT, closed forms, and what cannot be."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.datasets.long_tail import LongTailSettings
from orchestrator.errors import DataError
from orchestrator.vocabulary import FEW_BELOW, MANY_ABOVE


def listing(counts: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """Entries and classes with so many training images, and two report images a class."""
    entries = [
        (f"{split}/{label}/{i}", split, label, "x", 0, 1, None)
        for label, count in enumerate(counts)
        for split, n in (("train", count), ("report", 2))
        for i in range(n)
    ]
    return entries, [(label, f"name {label}", None) for label in range(len(counts))]


def kept(settings: LongTailSettings, counts: tuple[int, ...]) -> list[int]:
    """Training images of each class that are left."""
    entries, _ = settings.apply(*listing(counts))
    assert sum(row[1] == "report" for row in entries) == 2 * len(counts)
    return [sum(row[1:3] == ("train", label) for row in entries) for label in range(len(counts))]


@pytest.mark.parametrize(
    ("num_classes", "largest", "ratio", "total", "rarest"),
    [
        (10, 5000, 0.1, 20_431, 500),
        (10, 5000, 0.02, 13_996, 100),
        (10, 5000, 0.01, 12_406, 50),
        (100, 500, 0.1, 19_573, 50),
        (100, 500, 0.02, 12_608, 10),
        (100, 500, 0.01, 10_847, 5),
    ],
)
def test_the_exponential_profile_has_the_published_totals_of_cifar_lt(
    num_classes: int, largest: int, ratio: float, total: int, rarest: int
) -> None:
    counts = LongTailSettings(ratio=ratio).counts(num_classes, largest)
    assert (sum(counts), counts[0], counts[-1]) == (total, largest, rarest)
    assert LongTailSettings(imbalance=1 / ratio).counts(num_classes, largest) == counts


def test_the_pareto_profile_comes_near_the_published_groups_of_imagenet_lt() -> None:
    counts = LongTailSettings(profile="pareto", imbalance=256).counts(1000, 1280)
    many, few = sum(n > MANY_ABOVE for n in counts), sum(n < FEW_BELOW for n in counts)
    assert (counts[0], counts[-1], sum(counts)) == (1280, 5, 121_449)  # published: 1280, 5, 115,846
    assert (many, 1000 - many - few, few) == (404, 456, 140)  # published: 385, 479, 136
    assert list(counts) == sorted(counts, reverse=True)


def test_the_pareto_profile_is_its_formula_on_two_and_four_classes() -> None:
    assert LongTailSettings(profile="pareto", ratio=0.1).counts(2, 100) == (100, 10)
    tail = LongTailSettings(profile="pareto", ratio=0.25, alpha=1).counts(4, 400)  # Q(u) = 1/u - 1: 3, 1, 1/3, 0
    assert tail == (400, 200, 133, 100)


@pytest.mark.parametrize("profile", ["exponential", "pareto"])
def test_one_class_keeps_all_it_may(profile: Any) -> None:
    assert LongTailSettings(profile=profile, ratio=0.1).counts(1, 30) == (30,)


def test_ranks_follow_labels_or_the_seed_and_a_smaller_class_keeps_all() -> None:
    by_label = LongTailSettings(ratio=0.1)
    assert kept(by_label, (40, 40, 40)) == [40, 12, 4]
    assert kept(by_label.model_copy(update={"max_per_class": 20}), (40, 3, 40)) == [20, 3, 2]
    _, told = by_label.apply(*listing((40, 3, 40)))
    assert told == [
        "long_tail: 1 of 3 classes have fewer training images than their place in the profile asks for, and keep all"
    ]
    drawn = [kept(LongTailSettings(ratio=0.1, order="shuffled", seed=seed), (40, 40, 40)) for seed in range(12)]
    assert {tuple(sorted(counts)) for counts in drawn} == {(4, 12, 40)}
    assert len({tuple(counts) for counts in drawn}) > 2
    assert drawn[0] == kept(LongTailSettings(ratio=0.1, order="shuffled", seed=0), (40, 40, 40))


def test_which_images_stay_depends_on_the_seed_and_the_ids_only() -> None:
    entries, classes = listing((40, 40, 40))
    one, other = LongTailSettings(ratio=0.1, seed=1), LongTailSettings(ratio=0.1, seed=2)
    assert set(one.apply(entries[::-1], classes)[0]) == set(one.apply(entries, classes)[0])
    assert set(other.apply(entries, classes)[0]) != set(one.apply(entries, classes)[0])


def test_only_the_given_classes_are_thinned() -> None:
    entries, classes = listing((40, 40, 7))
    left, _ = LongTailSettings(ratio=0.1).apply(entries, classes[:2])
    assert [sum(row[1:3] == ("train", label) for row in left) for label in range(3)] == [40, 4, 7]


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="2 of 3 classes would keep no image"):
        LongTailSettings(ratio=0.001).apply(*listing((20, 20, 20)))


@pytest.mark.parametrize("options", [{}, {"ratio": 0.1, "imbalance": 10}, {"ratio": 0}, {"imbalance": 0.5}])
def test_contradicting_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LongTailSettings.model_validate(options)
