"""The relative-vector losses: closed forms of two images, invariances, coinciding images."""

import math
from typing import get_args

import pytest
import torch

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.relative_vector import Variant, relative_vector_loss
from orchestrator.losses.relative_vector import RelativeVectorSettings

VARIANTS: tuple[Variant, ...] = get_args(Variant)
ORTHOGONAL = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
OPPOSITE = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)


def rows(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_lengths_are_compared_by_huber_over_all_pairs_also_of_an_image_with_itself() -> None:
    huber = 0.5 * (abs(math.sqrt(2) - 2) - 0.25)  # beyond delta 0.5
    loss = relative_vector_loss(ORTHOGONAL, OPPOSITE, variant="norm_diff_rkd")
    assert loss.item() == pytest.approx(2 * huber / 2)  # two of the four pairs are 0


def test_vectors_are_compared_by_the_length_of_their_difference() -> None:
    loss = relative_vector_loss(ORTHOGONAL, OPPOSITE, variant="norm_diff_ours")  # (1, -1) - (2, 0) = (-1, -1)
    assert loss.item() == pytest.approx(2 * math.sqrt(2) / 2)


def test_directions_are_compared_without_their_lengths() -> None:
    loss = relative_vector_loss(ORTHOGONAL, OPPOSITE, variant="norm_diff_direction_ours")
    chord = 2 * math.sin(math.pi / 8)  # the chord of 45 degrees between (1, -1) and (2, 0)
    assert loss.item() == pytest.approx(2 * chord / 2, rel=1e-5)


def test_angles_are_those_of_every_second_image() -> None:
    student, teacher = rows(), rows().flip(0)
    changed = student.clone()
    changed[1::2] = 1.0
    angle: Variant = "relative_angle_direction"
    one, other = (relative_vector_loss(s, teacher, variant=angle) for s in (student, changed))
    assert one.item() == other.item() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_student_that_is_its_teacher_costs_nothing_and_so_does_a_rotated_one_of_lengths_and_angles(
    variant: Variant,
) -> None:
    rotation = torch.linalg.qr(rows(4)).Q
    assert relative_vector_loss(2 * rows(), rows(), variant=variant).item() == pytest.approx(0, abs=1e-7)
    rotated = relative_vector_loss(rows() @ rotation, rows(), variant=variant).item()
    assert (rotated < 1e-7) == (variant in ("norm_diff_rkd", "relative_angle_direction"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_coinciding_images_and_a_batch_of_one_give_finite_gradients(variant: Variant) -> None:
    for count in (1, 6):
        student = torch.ones(count, 4, requires_grad=True)
        loss = relative_vector_loss(student, rows(count).float(), variant=variant)
        loss.backward()
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert count > 1 or loss.item() == 0


def test_lengths_and_angles_do_not_need_one_width() -> None:
    context = LossContext((1,), 4, 4, 5, 1, 1, embedding_dim=4)
    loss = RelativeVectorSettings(variant="norm_diff_rkd").build(context)
    assert loss(rows(), torch.eye(6, 5).double()).isfinite()
    with pytest.raises(ValueError, match="4 numbers"):
        RelativeVectorSettings().build(context)
