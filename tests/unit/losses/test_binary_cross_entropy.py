"""BCE, CB-BCE and Bal-BCE: closed forms, thresholds, classes without training images."""

import math

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.losses.balanced_binary_cross_entropy import BalancedBinaryCrossEntropySettings
from orchestrator.losses.binary_cross_entropy import BinaryCrossEntropySettings
from orchestrator.losses.context import LossContext

CONTEXT = LossContext((90, 10), 4, 4, 4, 1, 2)
ABSENT = LossContext((60, 40, 0), 4, 4, 4, 1, 3)
ZEROS = torch.zeros(2, 2, dtype=torch.float64)
LABELS = torch.tensor([0, 1])


def test_zero_logits_cost_log_2_for_each_class() -> None:
    assert BinaryCrossEntropySettings().build(CONTEXT)(ZEROS, LABELS).item() == pytest.approx(2 * math.log(2))


def test_balanced_zero_logits_predict_the_prior_of_each_class() -> None:
    loss = BalancedBinaryCrossEntropySettings().build(CONTEXT)
    # sigmoid(log odds) is the prior: of a row of class 0, class 0 costs -log 0.9 and class 1 costs -log(1 - 0.1).
    assert loss(ZEROS[:1], LABELS[:1]).item() == pytest.approx(-2 * math.log(0.9))
    assert loss(ZEROS[1:], LABELS[1:]).item() == pytest.approx(-2 * math.log(0.1))


def test_tau_scales_the_log_odds() -> None:
    logits = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    half = BalancedBinaryCrossEntropySettings(tau=0.5).build(CONTEXT)(logits, LABELS[:1])
    shifted = logits + 0.5 * torch.tensor([math.log(9.0), -math.log(9.0)], dtype=torch.float64)
    torch.testing.assert_close(half, BinaryCrossEntropySettings().build(CONTEXT)(shifted, LABELS[:1]))


def test_a_mixed_target_gives_the_mixture_of_the_losses() -> None:
    loss = BalancedBinaryCrossEntropySettings(label_smoothing=0.1).build(CONTEXT)
    logits = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    first, second = (loss(logits, torch.tensor([label])) for label in (0, 1))
    mixed = loss(logits, LABELS[:1], torch.tensor([[0.3, 0.7]], dtype=torch.float64))
    torch.testing.assert_close(mixed, 0.3 * first + 0.7 * second)


def test_a_threshold_makes_every_target_above_it_a_full_one() -> None:
    logits = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    thresholded = BinaryCrossEntropySettings(label_smoothing=0.1, target_threshold=0.2).build(CONTEXT)
    plain = BinaryCrossEntropySettings().build(CONTEXT)
    torch.testing.assert_close(thresholded(logits, LABELS[:1]), plain(logits, LABELS[:1]))
    mixed = torch.tensor([[0.6, 0.4]], dtype=torch.float64)
    both = torch.ones(1, 2, dtype=torch.float64)
    torch.testing.assert_close(thresholded(logits, LABELS[:1], mixed), plain(logits, LABELS[:1], both))


def test_class_balance_weighs_the_classes_by_their_effective_numbers() -> None:
    logits = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    beta = 0.9
    weight = torch.tensor([(1 - beta) / (1 - beta**count) for count in CONTEXT.class_count], dtype=torch.float64)
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[0], torch.tensor([1.0, 0.0], dtype=torch.float64), reduction="none"
    )
    balanced = BinaryCrossEntropySettings(class_balance_beta=beta).build(CONTEXT)(logits, LABELS[:1])
    torch.testing.assert_close(balanced, 2 * (weight * each).sum() / weight.sum())


def test_classes_without_training_images_are_refused_unless_they_get_a_floor() -> None:
    with pytest.raises(ConfigError, match=r"labels \[2\]"):
        BalancedBinaryCrossEntropySettings().build(ABSENT)
    with pytest.raises(ConfigError, match="no class-balanced weight"):
        BinaryCrossEntropySettings(class_balance_beta=0.9999).build(ABSENT)
    logits, label = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([2])
    floored = BalancedBinaryCrossEntropySettings(prior_floor=1e-9).build(ABSENT)(logits, label)
    assert floored.item() == pytest.approx(-math.log(0.4) - math.log(0.6) - math.log(1e-9))
    assert BinaryCrossEntropySettings().build(ABSENT)(logits, label).item() == pytest.approx(3 * math.log(2))


def test_a_training_list_of_one_class_has_no_log_odds() -> None:
    with pytest.raises(ConfigError, match="one class"):
        BalancedBinaryCrossEntropySettings(prior_floor=1e-9).build(LossContext((9, 0), 4, 4, 4, 1, 2))
