"""The neighbourhood KL: invariances and a closed form."""

import math

import pytest
import torch

from orchestrator.losses.formulas.neighbourhood_kl import neighbourhood_kl


def rows(count: int = 7, width: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count + width), dtype=torch.float64)


def test_a_rotated_and_stretched_teacher_is_a_perfect_student() -> None:
    rotation = torch.linalg.qr(rows(5, 5)).Q
    loss = neighbourhood_kl(3 * rows() @ rotation, rows(), k=4)
    torch.testing.assert_close(loss, torch.zeros((), dtype=torch.float64))


def test_two_images_give_the_divergence_of_two_coins() -> None:
    student = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    teacher = torch.eye(2, dtype=torch.float64)
    p = 1 / (1 + math.exp(-1 / 0.5))
    wanted = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert neighbourhood_kl(student, teacher, temperature=0.5).item() == pytest.approx(wanted)


def test_one_neighbour_is_the_image_itself_and_k_is_capped_at_the_batch() -> None:
    student, teacher = rows(7, 4), rows()
    assert neighbourhood_kl(student, teacher, k=1).item() == 0
    torch.testing.assert_close(neighbourhood_kl(student, teacher, k=99), neighbourhood_kl(student, teacher, k=7))


def test_a_batch_of_one_is_0_with_zero_gradient() -> None:
    student = rows(1).requires_grad_()
    loss = neighbourhood_kl(student, rows(1, 4))
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0
