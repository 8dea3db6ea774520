"""L_mse of the OOD paper: closed forms of both forms."""

import math

import pytest
import torch

from orchestrator.losses.context import LossContext
from orchestrator.losses.embedding_mse import EmbeddingMSESettings
from orchestrator.losses.formulas.embedding_mse import embedding_mse

CONTEXT = LossContext((1, 1), 2, 2, 2, 1, 2, embedding_dim=2)
TEACHER = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)


def test_unit_vectors_are_0_2_and_4_apart_when_equal_orthogonal_and_opposite() -> None:
    loss = EmbeddingMSESettings().build(CONTEXT)
    assert loss(7 * TEACHER, TEACHER).item() == 0
    assert loss(7 * TEACHER.flip(0), TEACHER).item() == pytest.approx(2)
    assert loss(-0.1 * TEACHER, TEACHER).item() == pytest.approx(4)
    assert loss(torch.zeros(2, 2, dtype=torch.float64), TEACHER).item() == pytest.approx(1)


def test_the_raw_form_is_the_logarithm_of_the_mean_square_over_ten() -> None:
    student = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    loss = embedding_mse(student, torch.zeros(2, 2), form="raw_log")
    assert loss.item() == pytest.approx(math.log(1 + 12.5 / 10))


def test_the_raw_form_reaches_0_at_the_teachers_length() -> None:
    loss = EmbeddingMSESettings(form="raw_log", teacher_length=9).build(CONTEXT)
    assert loss(9 * TEACHER, TEACHER).item() == 0
    assert loss(8 * TEACHER, TEACHER).item() == pytest.approx(math.log(1.1))
