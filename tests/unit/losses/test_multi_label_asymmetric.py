"""The multi-label asymmetric loss: its special case, its shift, its weight, its bias."""

import math

import pytest
import torch

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.multi_label_asymmetric import (
    asymmetric_loss,
    multi_label_prediction,
    two_prompt_probability,
)
from orchestrator.losses.multi_label_asymmetric import MultiLabelAsymmetricSettings

N, C = 4, 3
CONTEXT = LossContext((1,) * C, 4, 4, 4, 1, C)
TARGET = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


def logits() -> torch.Tensor:
    return torch.randn(N, C, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_without_focus_shift_and_bias_it_is_binary_cross_entropy_summed_over_classes() -> None:
    loss = asymmetric_loss(torch.sigmoid(logits()), TARGET, gamma_pos=0, gamma_neg=0, shift=0)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits(), TARGET.double()) * C
    torch.testing.assert_close(loss, wanted)


def test_one_class_gives_the_closed_form() -> None:
    p = torch.tensor([[0.7]], dtype=torch.float64)
    positive = asymmetric_loss(p, torch.ones(1, 1))
    assert positive.item() == pytest.approx(-(1 - 0.7) * math.log(0.7))
    negative = asymmetric_loss(p, torch.zeros(1, 1), bias=0.1)
    n = 1 - (0.7 + math.tanh(0.1)) + 0.05
    assert negative.item() == pytest.approx(-((1 - n) ** 2) * math.log(n))


def test_negatives_below_the_shift_cost_nothing() -> None:
    p = torch.full((1, 2), 0.04, dtype=torch.float64, requires_grad=True)
    loss = asymmetric_loss(p, torch.zeros(1, 2))
    loss.backward()
    assert loss.item() == 0
    assert p.grad is not None
    assert p.grad.abs().sum() == 0


def test_the_focal_weight_carries_no_gradient() -> None:
    p = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    asymmetric_loss(p, torch.ones(1, 1)).backward()
    assert p.grad is not None
    assert p.grad.item() == pytest.approx(-(1 - 0.7) / 0.7)


def test_gradients_without_focus_agree_with_finite_differences() -> None:
    bias = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    p = torch.sigmoid(logits()).requires_grad_()

    def value(p: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return asymmetric_loss(p, TARGET, bias, gamma_pos=0, gamma_neg=0)

    assert torch.autograd.gradcheck(value, (p, bias))


def test_two_prompts_give_the_softmax_over_both() -> None:
    both = torch.stack([logits(), logits().flip(0)])
    torch.testing.assert_close(two_prompt_probability(both), both.softmax(dim=0)[0])


def test_a_label_is_the_target_where_the_batch_has_none_and_several_labels_are_a_target() -> None:
    loss = MultiLabelAsymmetricSettings().build(CONTEXT).double()
    label = torch.tensor([2, 0, 1, 1])
    one_hot = torch.nn.functional.one_hot(label, C)
    torch.testing.assert_close(loss(logits(), label), asymmetric_loss(torch.sigmoid(logits()), one_hot))
    torch.testing.assert_close(loss(logits(), label, TARGET), asymmetric_loss(torch.sigmoid(logits()), TARGET))


def test_the_bias_is_learnt_shown_through_tanh_and_used_at_test_time_with_or_without_it() -> None:
    loss = MultiLabelAsymmetricSettings().build(CONTEXT)
    with torch.no_grad():
        loss.bias.fill_(2.0)
    assert loss.observed()["bias"].item() == pytest.approx(math.tanh(2))
    p = torch.tensor([[0.2, 0.6, 0.699]])
    assert multi_label_prediction(p).tolist() == [[False, True, True]]
    assert multi_label_prediction(p, -0.2).tolist() == [[False, False, True]]  # tanh(0.2) is 0.197
    assert multi_label_prediction(p, -0.2, raw_bias=True).tolist() == [[False, False, False]]
