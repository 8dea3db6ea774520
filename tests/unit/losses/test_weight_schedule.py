"""Schedules of loss weights: the factor over the training, and the objective that follows it."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.loss import Loss
from orchestrator.losses.objective import Objective
from orchestrator.losses.weight_schedule import WeightSchedule

POINTS = ((0.2, 1.0), (0.6, 3.0), (0.8, 0.0))


@pytest.mark.parametrize(
    ("interpolation", "between"),
    [("linear", 1.5), ("cosine", 1 + 2 * (1 - math.cos(math.pi / 4)) / 2), ("step", 1.0)],
)
def test_factors_hold_before_the_first_point_and_after_the_last_and_follow_the_interpolation_between(
    interpolation: Any, between: float
) -> None:
    schedule = WeightSchedule(points=POINTS, interpolation=interpolation)
    assert [schedule.factor(at) for at in (0, 0.1, 0.2)] == [1, 1, 1]
    assert [schedule.factor(at) for at in (0.8, 0.9, 1)] == [0, 0, 0]
    assert schedule.factor(0.6) == pytest.approx(3)
    assert schedule.factor(0.3) == pytest.approx(between)


def test_a_cosine_is_flat_at_its_points_and_half_way_in_the_middle() -> None:
    schedule = WeightSchedule(points=((0, 0), (1, 2)), interpolation="cosine")
    assert schedule.factor(0.5) == pytest.approx(1)
    assert schedule.factor(0.01) < 0.01 * 2 / 10
    assert 2 - schedule.factor(0.99) < 0.01 * 2 / 10


@pytest.mark.parametrize(
    "points", [(), ((0.5, 1), (0.5, 2)), ((0.5, 1), (0.2, 2)), ((-0.1, 1),), ((1.1, 1),), ((0, -1),)]
)
def test_points_that_do_not_rise_or_are_negative_are_refused(points: Any) -> None:
    with pytest.raises(ValidationError):
        WeightSchedule(points=points)


class Squares(Loss):
    def forward(self, student_feature: Tensor, label: Tensor | None = None) -> Tensor:
        return student_feature.square().sum() + (0 if label is None else label.sum())


class Keys(Loss):
    def __init__(self, key_momentum: float | None) -> None:
        super().__init__()
        self.key_momentum = key_momentum

    def forward(self, key_feature: Tensor) -> Tensor:
        return key_feature.sum()


def test_the_objective_scales_value_and_gradient_by_the_factor_and_tells_the_weight() -> None:
    schedules = {"one": WeightSchedule(points=((0, 0), (0.5, 1)))}
    objective = Objective({"one": (2.0, Squares()), "two": (1.0, Squares())}, schedules)
    for fraction, factor in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        feature = torch.tensor([3.0], requires_grad=True)
        objective.set_progress(fraction)
        total, parts = objective({"student_feature": feature})
        total.backward()
        assert float(total.detach()) == pytest.approx(9 * (2 * factor + 1))
        assert feature.grad is not None
        assert float(feature.grad) == pytest.approx(6 * (2 * factor + 1))
        assert float(parts["one"]) == 9  # the loss itself is told without its weight
        assert float(parts["one.weight"]) == pytest.approx(2 * factor)
        assert "two.weight" not in parts


def test_terms_are_kept_with_their_graph_only_where_asked_for() -> None:
    objective = Objective({"one": (2.0, Squares())})
    feature = torch.tensor([3.0], requires_grad=True)
    objective({"student_feature": feature})
    assert objective.terms == {}
    objective.keep_terms = True
    objective({"student_feature": feature})
    assert float(objective.terms["one"].detach()) == 18
    assert objective.terms["one"].requires_grad


def test_an_optional_input_is_passed_where_the_batch_has_it_and_never_missing() -> None:
    objective = Objective({"one": (1.0, Squares())})
    feature = torch.tensor([1.0])
    assert objective.required_inputs() == {"student_feature"}
    assert objective.optional_inputs() == {"label"}
    objective.check({"student_feature"})
    assert float(objective({"student_feature": feature})[0]) == 1
    assert float(objective({"student_feature": feature, "label": torch.tensor([4])})[0]) == 5


def test_losses_that_want_momentum_copies_of_different_momenta_are_refused() -> None:
    assert Objective({"one": (1.0, Squares())}).key_momentum() is None
    assert Objective({"one": (1.0, Keys(0.9)), "two": (1.0, Keys(0.9))}).key_momentum() == 0.9
    with pytest.raises(ConfigError, match=r"different momenta: .*'one': 0.9, 'two': 0.99"):
        Objective({"one": (1.0, Keys(0.9)), "two": (1.0, Keys(0.99))}).key_momentum()
