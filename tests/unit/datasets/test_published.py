"""Published counts: replicas with the published numbers pass, and every difference is told."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.datasets.list_file import ListFileSettings
from orchestrator.datasets.long_tail import LongTailSettings
from orchestrator.datasets.ood_split import OodSplitSettings
from orchestrator.datasets.published import PUBLISHED, mismatches
from orchestrator.errors import DataError
from tests.tiny_datasets import list_file


def replica(**counts: list[int]) -> list[Any]:
    """Entries of splits with so many images of each class."""
    return [
        (f"{split}/{label}/{i}", split, label, "x", 0, 1, None)
        for split, of_split in counts.items()
        for label, count in enumerate(of_split)
        for i in range(count)
    ]


def test_groups_and_splits_of_every_published_data_set_add_up() -> None:
    for name, published in PUBLISHED.items():
        assert published.groups is None or sum(published.groups) == published.num_classes, name
        assert (published.total is None) != (not published.counts), name
        if published.ood is not None:
            assert published.ood.train + published.ood.select + published.ood.unseen == published.total, name
            assert published.num_classes is not None
            unseen = published.num_classes - published.ood.num_seen
            assert published.ood.least_unseen * unseen <= published.ood.unseen, name


def test_a_replica_of_cifar_passes_also_with_a_part_of_train_set_aside() -> None:
    assert mismatches("cifar_10", replica(train=[5000] * 10, report=[1000] * 10), 10) == []
    assert mismatches("cifar_10", replica(train=[4500] * 10, select=[500] * 10, report=[1000] * 10), 10) == []


def test_every_difference_is_named_with_both_numbers() -> None:
    wrong = mismatches("cifar_10", replica(train=[5000] * 9 + [4999], report=[1000] * 9 + [0]), 11)
    assert wrong == [
        "11 classes, published 10",
        "49,999 train images, published 50,000",
        "9,000 report images, published 10,000",
        "0 training images of the rarest class, published 5,000",
    ]


def test_groups_of_imagenet_lt_are_compared() -> None:
    counts = list(LongTailSettings(profile="pareto", imbalance=256).counts(1000, 1280))
    wrong = mismatches("imagenet_lt", replica(train=counts, select=[20] * 1000, report=[50] * 1000), 1000)
    assert wrong == [
        "121,449 train images, published 115,846",
        "404 Many classes, published 385",
        "456 Medium classes, published 479",
        "140 Few classes, published 136",
    ]


def test_food_101_passes_by_its_rule_and_the_authors_lists_are_compared_wholly() -> None:
    entries = replica(train=[1000] * 101)
    assert mismatches("food_101", entries, 101) == []
    classes = [(label, f"{label:03d}", None) for label in range(101)]
    for shots in (0, 5):
        moved, _, seen, _ = OodSplitSettings(shots=shots).apply(entries, classes)
        assert mismatches("food_101", moved, 101, num_seen=seen, by_lists=True) == []
    moved, _, seen, _ = OodSplitSettings(num_seen=50).apply(entries, classes)
    assert mismatches("food_101", moved, 101, num_seen=seen) == ["50 seen classes, published 51"]
    assert len(mismatches("food_101", moved, 101, num_seen=seen, by_lists=True)) == 4


def test_a_data_set_without_an_ood_protocol_has_nothing_to_compare_there() -> None:
    assert mismatches("cifar_10", replica(train=[1] * 10), 10, num_seen=5, by_lists=True) == []


def test_the_lists_of_imagenet_lt_are_taken_as_they_are_and_an_incomplete_copy_is_told(tmp_path: Path) -> None:
    settings = ListFileSettings.model_validate(list_file(tmp_path))
    assert settings.published == "imagenet_lt"
    index = settings.index(tmp_path)
    assert [sum(index.class_counts(split)) for split in ("train", "select", "report")] == [15, 3, 3]
    assert index.notes[:2] == (
        "this is not imagenet_lt as published: 3 classes, published 1,000",
        "this is not imagenet_lt as published: 15 train images, published 115,846",
    )
    with pytest.raises(DataError, match="15 train images, published 115,846"):
        settings.model_copy(update={"strict_counts": True}).index(tmp_path)
    silent = ListFileSettings.model_validate({**list_file(tmp_path), "published": None})
    assert silent.index(tmp_path).notes == ()
