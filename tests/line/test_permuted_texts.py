"""The control arms: captions of other images, over the whole set or within the class, none lost and none twice."""

from collections import Counter

import pytest

from orchestrator.stages.texts import permuted

LABELS = [number % 4 for number in range(60)]
TEXTS: list[str | None] = [None if number % 13 == 0 else f"caption {number}" for number in range(60)]


def by_class(texts: list[str | None]) -> dict[int, Counter[str | None]]:
    return {
        label: Counter(text for text, own in zip(texts, LABELS, strict=True) if own == label) for label in set(LABELS)
    }


def test_without_permutation_every_image_keeps_its_caption() -> None:
    assert permuted(TEXTS, LABELS, "none", 0) == TEXTS


@pytest.mark.parametrize("permute", ["within_class", "all"])
def test_a_permutation_loses_no_caption_and_takes_none_twice(permute: str) -> None:
    assert Counter(permuted(TEXTS, LABELS, permute, 0)) == Counter(TEXTS)


def test_within_the_class_every_class_keeps_its_captions() -> None:
    found = permuted(TEXTS, LABELS, "within_class", 0)
    assert by_class(found) == by_class(TEXTS)
    assert sum(a != b for a, b in zip(found, TEXTS, strict=True)) > 40


def test_over_the_whole_set_captions_come_to_other_classes() -> None:
    found = permuted(TEXTS, LABELS, "all", 0)
    assert all(by_class(found)[label] != by_class(TEXTS)[label] for label in set(LABELS))
    origin = {text: label for text, label in zip(TEXTS, LABELS, strict=True) if text is not None}
    stayed = sum(origin[text] == label for text, label in zip(found, LABELS, strict=True) if text is not None)
    assert stayed < 30  # 55 captions, one in four by chance: 13.75 expected, standard deviation 3.2


def test_the_seed_decides_and_the_input_is_left_as_it_was() -> None:
    before = list(TEXTS)
    assert permuted(TEXTS, LABELS, "all", 1) == permuted(TEXTS, LABELS, "all", 1)
    assert permuted(TEXTS, LABELS, "all", 1) != permuted(TEXTS, LABELS, "all", 2)
    assert before == TEXTS


def test_an_image_alone_in_its_class_keeps_its_caption() -> None:
    assert permuted(["a", "b", "c"], [0, 1, 2], "within_class", 5) == ["a", "b", "c"]
