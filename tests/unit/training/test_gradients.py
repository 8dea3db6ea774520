"""The gradient report against gradients worked out by hand."""

import math

import pytest
import torch
from torch import nn

from orchestrator.training.gradients import gradient_report


def test_norms_and_cosines_are_those_of_the_gradients_worked_out_by_hand() -> None:
    student = nn.Linear(2, 1, bias=False)
    frozen = nn.Linear(2, 2)
    student.add_module("frozen", frozen.requires_grad_(False))
    with torch.no_grad():
        student.weight.copy_(torch.tensor([[1.0, 2.0]]))
    w = student.weight[0]
    terms = {"line": 3 * w[0] + 4 * w[1], "square": w[0] ** 2, "other": -2 * w[0], "constant": torch.tensor(1.0)}
    report = gradient_report(terms, student)
    # gradients (3, 4), (2, 0), (-2, 0)
    expected = {
        "gradient_norm.line": 5.0,
        "gradient_norm.square": 2.0,
        "gradient_norm.other": 2.0,
        "gradient_cosine.line~square": 3 / 5,
        "gradient_cosine.line~other": -3 / 5,
        "gradient_cosine.square~other": -1.0,
    }
    assert {name: float(value) for name, value in report.items()} == pytest.approx(expected)
    torch.stack(list(terms.values())).sum().backward()  # the graphs are still there
    assert student.weight.grad is not None
    torch.testing.assert_close(student.weight.grad, torch.tensor([[3.0 + 2.0 - 2.0, 4.0]]))


def test_norms_are_those_of_finite_differences_over_all_parameters() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    images = torch.randn(5, 3, dtype=torch.float64)
    found = float(gradient_report({"loss": student(images).square().mean()}, student)["gradient_norm.loss"])
    squares, step = 0.0, 1e-6
    with torch.no_grad():
        for parameter in student.parameters():
            for index in range(parameter.numel()):
                flat = parameter.view(-1)
                flat[index] += step
                up = float(student(images).square().mean())
                flat[index] -= 2 * step
                down = float(student(images).square().mean())
                flat[index] += step
                squares += ((up - down) / (2 * step)) ** 2
    assert found == pytest.approx(math.sqrt(squares), rel=1e-6)


def test_a_term_that_does_not_reach_the_student_has_no_pull() -> None:
    student, head = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    report = gradient_report({"one": student(torch.ones(1, 2)).sum(), "head": head.sum()}, student)
    assert float(report["gradient_norm.head"]) == 0
    assert float(report["gradient_cosine.one~head"]) == 0
