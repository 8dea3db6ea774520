"""Support selection, retrieval by hand, the official code's way of storing copies, the closed-set slice."""

import math

import numpy as np
import pytest
import torch

from orchestrator.errors import DataError
from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.few_shot import retrieval_accuracy, retrieval_scores, support_rows

EYE = torch.eye(3, dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_support_is_the_first_files_of_each_unseen_class_and_is_not_tested() -> None:
    files = ["b.jpg", "a.jpg", "z.jpg", "c.jpg", "y.jpg", "x.jpg"]
    label = [7, 7, 3, 7, 3, 5]
    support, rest = support_rows(files, label, classes=[7, 3], shots=2)
    assert support == [1, 0, 4, 2]  # a, b of class 7; y, z of class 3
    assert rest == [3]  # class 3 has no test image left; class 5 is seen


def test_support_does_not_depend_on_the_order_of_the_index() -> None:
    files, label = [f"{n:02}.jpg" for n in range(30)], [n % 3 for n in range(30)]
    order = np.random.default_rng(0).permutation(30)
    support, _ = support_rows([files[n] for n in order], [label[n] for n in order], [0, 2])
    assert [files[order[row]] for row in support] == [files[row] for row in support_rows(files, label, [0, 2])[0]]


def test_retrieval_by_hand() -> None:
    student = torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64)
    support, of_class = EYE[[0, 1]][:, None], torch.tensor([1, 1])
    scores = retrieval_scores(student, EYE, support, of_class, alpha=2, beta=3)
    stored = 2 * (math.exp(-3 * 0.4) + math.exp(-3 * 0.2))
    torch.testing.assert_close(scores, torch.tensor([[0.6, 0.8 + stored, 0.0]], dtype=torch.float64))


def test_without_alpha_retrieval_is_zero_shot() -> None:
    student, support = draw(6, 3), draw(4, 2, 3, seed=1)
    torch.testing.assert_close(retrieval_scores(student, EYE, support, torch.arange(4) % 3, alpha=0), student @ EYE.T)


def test_as_code_stores_only_the_first_image_of_each_class() -> None:
    student, support = draw(6, 3), draw(5, 10, 3, seed=1)
    of_class = torch.tensor([2, 0, 2, 1, 0])
    stored = retrieval_scores(student, EYE, support, of_class, as_code=True)
    torch.testing.assert_close(stored, retrieval_scores(student, EYE, support[[0, 1, 3]], torch.tensor([2, 0, 1])))
    assert not torch.allclose(stored, retrieval_scores(student, EYE, support, of_class))


def test_support_of_the_right_class_corrects_a_wrong_text() -> None:
    student, wrong_text = EYE[[0, 1]], EYE[[1, 0, 2]]
    support, label = EYE[[0, 1]][:, None], np.array([0, 1])
    found = retrieval_accuracy(student, wrong_text, label, support, label, classes=[0, 1], alpha=3)
    assert found["mean_per_class"] == 1
    assert (
        retrieval_accuracy(student, wrong_text, label, support, label, classes=[0, 1], alpha=0)["mean_per_class"] == 0
    )


def test_blocks_change_nothing_and_bound_what_is_stored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    student, text, support = draw(40, 6), draw(7, 6, seed=1), draw(21, 10, 6, seed=2)
    label, of_class = np.arange(40) % 7, np.arange(21) % 7
    whole = retrieval_accuracy(student, text, label, support, of_class)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 3 * 210)
    assert retrieval_accuracy(student, text, label, support, of_class) == pytest.approx(whole)


def test_support_of_a_class_that_is_not_on_offer_is_refused() -> None:
    with pytest.raises(DataError, match="not among the 1 on offer"):
        retrieval_accuracy(EYE[:1], EYE, np.array([0]), EYE[:, None], np.arange(3), classes=[0])
