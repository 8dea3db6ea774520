"""The learning rate of each step in closed form, and which parameters are decayed."""

import math

import pytest
import torch
from torch import nn

from orchestrator.training.optimizer import build_optimizer, learning_rate_factor
from orchestrator.training.settings import AdamWSettings, ScheduleSettings, SgdSettings

WARM = ScheduleSettings(warmup_fraction=0.1)


def test_the_warm_up_is_linear_and_ends_at_the_peak() -> None:
    factors = [learning_rate_factor(step, 100, WARM) for step in range(10)]
    assert factors == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert learning_rate_factor(10, 100, WARM) == 1.0


def test_after_the_warm_up_comes_half_a_cosine() -> None:
    assert learning_rate_factor(55, 100, WARM) == pytest.approx(0.5)
    assert learning_rate_factor(99, 100, WARM) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    factors = [learning_rate_factor(step, 100, WARM) for step in range(10, 100)]
    assert factors == sorted(factors, reverse=True)


def test_the_final_fraction_lifts_the_end_and_one_makes_it_constant() -> None:
    lifted = ScheduleSettings(warmup_fraction=0.0, final_fraction=0.2)
    assert learning_rate_factor(50, 100, lifted) == pytest.approx(0.6)
    assert learning_rate_factor(10**6 - 1, 10**6, lifted) == pytest.approx(0.2)
    constant = ScheduleSettings(warmup_fraction=0.0, final_fraction=1.0)
    assert {learning_rate_factor(step, 7, constant) for step in range(7)} == {1.0}


def test_a_training_of_one_step_takes_it_at_the_peak() -> None:
    assert learning_rate_factor(0, 1, WARM) == 1.0


@pytest.mark.parametrize(
    "settings", [AdamWSettings(learning_rate=0.1, weight_decay=0.5), SgdSettings(weight_decay=0.5)]
)
def test_matrices_are_decayed_and_vectors_are_not(settings: AdamWSettings | SgdSettings) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = build_optimizer(settings, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # With zero gradients only decay moves a parameter: by lr * weight_decay, both for AdamW and for SGD's first step.
    shrunk = before["0.weight"] * (1 - settings.learning_rate * 0.5)
    torch.testing.assert_close(model[0].weight.detach(), shrunk)
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(model.get_parameter(name).detach(), before[name])


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(AdamWSettings(), model)
    assert [parameter for group in optimizer.param_groups for parameter in group["params"]] == [model.weight]
