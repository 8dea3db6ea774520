"""Zero-shot accuracy over a set of classes: by hand, subsets, blocks."""

import math

import numpy as np
import pytest
import torch

from orchestrator.errors import DataError
from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.zero_shot import zero_shot_accuracy

TEXT = torch.eye(4, dtype=torch.float64)


def test_the_mean_is_over_classes_that_have_a_test_image() -> None:
    student, label = TEXT[[0, 0, 0, 1, 1]], [0, 0, 0, 0, 1]
    found = zero_shot_accuracy(student, TEXT, np.array(label))
    assert found["mean_per_class"] == pytest.approx((3 / 4 + 1) / 2)
    assert found["all"] == pytest.approx(4 / 5)
    assert (found["num_images"], found["num_classes"]) == (5, 2)


def test_only_the_texts_on_offer_can_be_chosen() -> None:
    student = torch.tensor([[0.9, 0.3, 0.2, 0.1], [0.9, 0.1, 0.3, 0.2]])
    label = np.array([1, 2])
    assert zero_shot_accuracy(student, TEXT, label)["mean_per_class"] == 0
    assert zero_shot_accuracy(student, TEXT, label, classes=[3, 2, 1])["mean_per_class"] == 1


def test_the_order_of_the_classes_on_offer_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    student, text = torch.randn(60, 5, generator=generator), torch.randn(8, 5, generator=generator)
    label = np.arange(60) % 3 + 4
    forward, backward = (zero_shot_accuracy(student, text, label, classes=order) for order in ([4, 5, 6], [6, 4, 5]))
    assert forward == pytest.approx(backward)


def test_an_image_of_a_class_that_is_not_on_offer_is_refused() -> None:
    with pytest.raises(DataError, match=r"not among the 2 on offer: \[0\]"):
        zero_shot_accuracy(TEXT, TEXT, np.array([0, 1, 2, 2]), classes=[1, 2])


@pytest.mark.parametrize("number", [-1, 4])
def test_a_label_without_a_text_is_refused(number: int) -> None:
    with pytest.raises(DataError, match=rf"not among the 4 on offer: \[{number}\]"):
        zero_shot_accuracy(TEXT, TEXT, np.array([0, 1, 2, number]))


def test_the_loss_is_the_cross_entropy_of_cosine_over_temperature() -> None:
    found = zero_shot_accuracy(3 * TEXT[:1], TEXT, np.array([0]), temperature=0.5)
    assert found["test_loss"] == pytest.approx(math.log(1 + 3 * math.exp(-2)))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    student, text = torch.randn(60, 5, generator=generator), torch.randn(8, 5, generator=generator)
    label = np.arange(60) % 8
    whole = zero_shot_accuracy(student, text, label)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 50)
    assert zero_shot_accuracy(student, text, label) == pytest.approx(whole)


def test_a_set_without_images_is_not_available() -> None:
    found = zero_shot_accuracy(torch.empty(0, 4), TEXT, np.empty(0, np.int64))
    assert math.isnan(found["mean_per_class"])
    assert found["num_images"] == 0


def test_a_zero_embedding_gives_no_nan() -> None:
    assert zero_shot_accuracy(torch.zeros(1, 4), TEXT, np.array([2]))["test_loss"] == pytest.approx(math.log(4))
