"""Logit adjustment: closed forms and classes without training images."""

import math

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings

CONTEXT = LossContext((90, 10), 4, 4, 4, 1, 2)
ABSENT = LossContext((90, 0), 4, 4, 4, 1, 2)


def test_equal_logits_give_minus_the_log_prior() -> None:
    loss = LogitAdjustedCrossEntropySettings().build(CONTEXT)
    logits = torch.zeros(2, 2, dtype=torch.float64)
    assert loss(logits[:1], torch.tensor([0])).item() == pytest.approx(-math.log(0.9))
    assert loss(logits, torch.tensor([0, 1])).item() == pytest.approx(-(math.log(0.9) + math.log(0.1)) / 2)


def test_tau_scales_the_prior_and_zero_is_plain_cross_entropy() -> None:
    logits, label = torch.tensor([[1.0, 3.0], [0.5, -1.0]], dtype=torch.float64), torch.tensor([0, 1])
    plain = LogitAdjustedCrossEntropySettings(tau=0).build(CONTEXT)(logits, label)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(logits, label))
    half = LogitAdjustedCrossEntropySettings(tau=0.5).build(CONTEXT)(logits, label)
    shifted = logits + 0.5 * torch.log(torch.tensor([0.9, 0.1], dtype=torch.float64))
    torch.testing.assert_close(half, torch.nn.functional.cross_entropy(shifted, label))


def test_a_class_without_training_images_is_refused_unless_it_gets_a_floor() -> None:
    with pytest.raises(ConfigError, match=r"labels \[1\]"):
        LogitAdjustedCrossEntropySettings().build(ABSENT)
    floored = LogitAdjustedCrossEntropySettings(prior_floor=1e-9).build(ABSENT)
    assert floored(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1])).item() == pytest.approx(-math.log(1e-9))
    plain = LogitAdjustedCrossEntropySettings(tau=0).build(ABSENT)
    assert plain(torch.zeros(1, 2), torch.tensor([1])).item() == pytest.approx(math.log(2))


def test_a_mixed_target_gives_the_mixture_of_the_losses_and_is_smoothed_as_labels_are() -> None:
    loss = LogitAdjustedCrossEntropySettings(label_smoothing=0.1).build(CONTEXT)
    logits = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    first, second = (loss(logits, torch.tensor([label])) for label in (0, 1))
    mixed = loss(logits, torch.tensor([0]), torch.tensor([[0.3, 0.7]], dtype=torch.float64))
    torch.testing.assert_close(mixed, 0.3 * first + 0.7 * second)


def test_smoothing_adds_the_mean_surprise_over_the_classes() -> None:
    logits, label = torch.tensor([[2.0, -1.0]], dtype=torch.float64), torch.tensor([0])
    surprise = -torch.log_softmax(logits, dim=1)[0]
    smooth = LogitAdjustedCrossEntropySettings(tau=0, label_smoothing=0.2).build(CONTEXT)(logits, label)
    torch.testing.assert_close(smooth, 0.8 * surprise[0] + 0.2 * surprise.mean())


def test_class_balance_weighs_rare_rows_more_and_beta_0_not_at_all() -> None:
    logits, label = torch.tensor([[1.0, 3.0], [0.5, -1.0]], dtype=torch.float64), torch.tensor([0, 1])
    each = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    flat = LogitAdjustedCrossEntropySettings(tau=0, class_balance_beta=0.0).build(CONTEXT)
    torch.testing.assert_close(flat(logits, label), each.mean())
    beta = 0.9
    weight = [(1 - beta) / (1 - beta**count) for count in CONTEXT.class_count]
    balanced = LogitAdjustedCrossEntropySettings(tau=0, class_balance_beta=beta).build(CONTEXT)
    expected = (weight[0] * each[0] + weight[1] * each[1]) / sum(weight)
    torch.testing.assert_close(balanced(logits, label), expected)
    mixed = balanced(logits, label, torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64))
    parts = -torch.log_softmax(logits, dim=1)
    shares = torch.tensor([[weight[0], 0.0], [weight[0] / 2, weight[1] / 2]], dtype=torch.float64)
    torch.testing.assert_close(mixed, (shares * parts).sum() / shares.sum())


def test_class_balance_refuses_classes_without_training_images() -> None:
    with pytest.raises(ConfigError, match="no class-balanced weight"):
        LogitAdjustedCrossEntropySettings(tau=0, class_balance_beta=0.9).build(ABSENT)
