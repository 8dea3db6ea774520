"""L_cls of the OOD paper and its hinge version: closed forms on orthonormal class texts."""

import math

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.embedding_cross_entropy import EmbeddingCrossEntropySettings
from orchestrator.losses.formulas.embedding_cross_entropy import embedding_cross_entropy, text_hinge
from orchestrator.losses.text_hinge import TextHingeSettings

C = 4
TEXTS = torch.eye(C, dtype=torch.float64)
LABEL = torch.tensor([0, 2, 2])
CONTEXT = LossContext((1,) * C, 4, 4, 4, 1, C, embedding_dim=4)


def test_an_embedding_on_its_class_text_costs_what_the_other_texts_weigh_whatever_its_length() -> None:
    loss = EmbeddingCrossEntropySettings().build(CONTEXT)
    wanted = math.log1p((C - 1) * math.exp(-1 / 0.07))
    for length in (0.1, 1.0, 70.0):
        assert loss(length * TEXTS[LABEL], TEXTS, LABEL).item() == pytest.approx(wanted, rel=1e-9)


def test_an_embedding_on_another_class_text_costs_one_over_the_temperature() -> None:
    loss = embedding_cross_entropy(TEXTS[[1]], TEXTS, torch.tensor([0]), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(C - 1 + math.exp(2)))


def test_a_zero_embedding_is_undecided() -> None:
    assert embedding_cross_entropy(torch.zeros(3, C), TEXTS, LABEL).item() == pytest.approx(math.log(C))


def test_a_soft_target_weighs_the_cross_entropies_of_its_labels() -> None:
    student = torch.randn(3, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = torch.tensor([1, 0, 3])
    target = 0.3 * torch.nn.functional.one_hot(LABEL, C) + 0.7 * torch.nn.functional.one_hot(other, C)
    loss = EmbeddingCrossEntropySettings().build(CONTEXT)
    mixed = 0.3 * loss(student, TEXTS, LABEL) + 0.7 * loss(student, TEXTS, other)
    torch.testing.assert_close(loss(student, TEXTS, LABEL, target), mixed)


def test_the_hinge_of_a_right_embedding_is_the_margin_of_its_own_class_and_gives_no_gradient() -> None:
    student = (3 * TEXTS[LABEL]).requires_grad_()
    loss = text_hinge(student, TEXTS, LABEL)
    loss.backward()
    assert loss.item() == pytest.approx(0.2)
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_the_hinge_of_a_wrong_embedding_counts_every_class_within_the_margin() -> None:
    loss = TextHingeSettings(margin=0.5).build(CONTEXT)(TEXTS[[1]], TEXTS, torch.tensor([0]))
    assert loss.item() == pytest.approx((1 + 0.5) + 0.5 + (C - 2) * 0.5)  # the wrong class, the own one, the others


@pytest.mark.parametrize("settings", [EmbeddingCrossEntropySettings(), TextHingeSettings()])
def test_an_embedding_of_another_width_than_the_teachers_is_refused(
    settings: EmbeddingCrossEntropySettings | TextHingeSettings,
) -> None:
    with pytest.raises(ConfigError, match=r"embedding \(3 numbers\) with the image teacher's embedding \(4\)"):
        settings.build(LossContext((1,) * C, 4, 4, 4, 1, C, embedding_dim=3))
