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
