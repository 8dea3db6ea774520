"""LADE: closed forms, and a class that is absent from the batch."""

import math

import pytest
import torch

from orchestrator.losses.context import LossContext
from orchestrator.losses.lade import LadeSettings

BALANCED = LossContext((50, 50), 4, 4, 4, 1, 2)


def test_constant_logits_of_balanced_classes_leave_only_the_regulariser() -> None:
    # Every bound is the constant itself, as is every mean: what is left is lambda * constant^2.
    loss = LadeSettings(remine_lambda=0.1).build(BALANCED)
    logits = torch.full((4, 2), 3.0, dtype=torch.float64)
    assert loss(logits, torch.tensor([0, 1, 1, 0])).item() == pytest.approx(0.9, abs=1e-6)


def test_an_absent_class_has_no_mean_but_still_its_bound() -> None:
    loss = LadeSettings(remine_lambda=0.1).build(BALANCED)
    logits = torch.tensor([[1.0, 4.0], [3.0, 4.0]], dtype=torch.float64)
    bound = math.log((math.exp(1) + math.exp(3)) / 2)
    present = 2.0 - bound - 0.1 * bound**2
    absent = 0.0 - 4.0 - 0.1 * 16
    assert loss(logits, torch.tensor([0, 0])).item() == pytest.approx(-(present + absent) / 2, abs=1e-6)


def test_the_bound_is_corrected_by_the_prior() -> None:
    loss = LadeSettings(remine_lambda=0.0).build(LossContext((90, 10), 4, 4, 4, 1, 2))
    logits = torch.zeros(1, 2, dtype=torch.float64)
    bounds = [math.log(0.5 / 0.9), math.log(0.5 / 0.1)]
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(0.9 * bounds[0] + 0.1 * bounds[1], abs=1e-6)


def test_a_class_without_training_images_changes_nothing() -> None:
    loss = LadeSettings().build(LossContext((50, 50, 0), 4, 4, 4, 1, 3))
    logits = torch.tensor([[1.0, 4.0, 7.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
    assert gradient.isfinite().all()
    assert gradient[0, 2] == 0
