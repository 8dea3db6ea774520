"""KD, decoupled KD and DIST: closed forms, their options, and the edges of section 7."""

import logging
import math

import pytest
import torch
from pydantic import ValidationError

from orchestrator.losses.context import LossContext
from orchestrator.losses.decoupled_kd import DecoupledKDSettings
from orchestrator.losses.dist import DistSettings
from orchestrator.losses.formulas.decoupled_kd import decoupled_kd, decoupled_kd_parts
from orchestrator.losses.formulas.dist import dist_parts
from orchestrator.losses.formulas.hinton_kd import hinton_kd, kd_with_cross_entropy, standardised
from orchestrator.losses.hinton_kd import HintonKDSettings

CONTEXT = LossContext((1,) * 3, 3, 4, 5, 1, 3)
TEACHER = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
STUDENT = torch.tensor([[0.2, 0.2, 0.6], [0.3, 0.3, 0.4]], dtype=torch.float64)
LABEL = torch.tensor([0, 2])


def kl(first: list[float], second: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(first, second, strict=True))


def test_kd_is_the_divergence_at_the_temperature_times_its_square() -> None:
    expected = (kl(TEACHER[0].tolist(), STUDENT[0].tolist()) + kl(TEACHER[1].tolist(), STUDENT[1].tolist())) / 2
    student, teacher = 3 * STUDENT.log(), 3 * TEACHER.log()
    assert hinton_kd(student, teacher, temperature=3).item() == pytest.approx(9 * expected)
    assert hinton_kd(student, teacher, temperature=3, square_temperature=False).item() == pytest.approx(expected)


def test_hard_labels_and_teacher_are_weighed_as_told() -> None:
    loss = HintonKDSettings(hard_label_weight=0.3, temperature=1).build(CONTEXT)
    cross_entropy = -(math.log(0.2) + math.log(0.4)) / 2
    kd = hinton_kd(STUDENT.log(), TEACHER.log(), temperature=1).item()
    assert loss.inputs() == ("student_logits", "teacher_logits", "label")
    assert loss(STUDENT.log(), TEACHER.log(), LABEL).item() == pytest.approx(0.3 * cross_entropy + 0.7 * kd)
    soft = torch.tensor([[0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)  # a mixed image's labels
    mixed = kd_with_cross_entropy(
        STUDENT.log(), TEACHER.log(), soft, hard_label_weight=2, teacher_weight=5, temperature=1
    )
    assert mixed.item() == pytest.approx(2 * cross_entropy + 5 * kd)  # both labels' student probability is 0.2
    assert HintonKDSettings().build(CONTEXT).inputs() == ("student_logits", "teacher_logits")
    with pytest.raises(ValidationError, match="teacher_weight"):
        HintonKDSettings(hard_label_weight=1)


def test_standardised_logits_have_mean_zero_and_deviation_one_and_forget_scale_and_offset() -> None:
    logits = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]], dtype=torch.float64, requires_grad=True)
    rows = standardised(logits)
    assert rows[0].mean().item() == pytest.approx(0, abs=1e-15)
    assert rows[0].std().item() == pytest.approx(1, rel=1e-6)
    assert rows[1].tolist() == [0, 0, 0]
    (gradient,) = torch.autograd.grad(rows.square().sum(), logits)
    assert gradient.isfinite().all()
    student, teacher = STUDENT.log(), TEACHER.log()
    plain = hinton_kd(student, teacher, standardise=True)
    torch.testing.assert_close(hinton_kd(5 * student + 2, teacher, standardise=True), plain, rtol=1e-5, atol=0)


def test_decoupled_kd_splits_into_label_against_rest_and_the_rest_among_itself() -> None:
    target, others = decoupled_kd_parts(2 * STUDENT.log(), 2 * TEACHER.log(), LABEL, temperature=2)
    binary = [kl([0.5, 0.5], [0.2, 0.8]), kl([0.8, 0.2], [0.4, 0.6])]
    rest = [kl([0.6, 0.4], [0.25, 0.75]), kl([0.5, 0.5], [0.5, 0.5])]
    assert target.tolist() == pytest.approx([4 * one for one in binary])
    assert others.tolist() == pytest.approx([4 * one for one in rest], abs=1e-12)


def test_kd_is_decoupled_kd_with_the_rest_weighed_by_the_teachers_doubt() -> None:
    student, teacher = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    label = torch.arange(7) % 3
    target, others = decoupled_kd_parts(student, teacher, label, temperature=1)
    doubt = 1 - teacher.softmax(dim=1).gather(1, label[:, None])[:, 0]
    torch.testing.assert_close((target + doubt * others).mean(), hinton_kd(student, teacher, temperature=1))


def test_decoupled_kd_of_mixed_images_is_the_mixture_of_both_labels_values() -> None:
    loss = DecoupledKDSettings().build(CONTEXT)
    student, teacher = STUDENT.log(), TEACHER.log()
    share = torch.tensor([0.75, 0.75], dtype=torch.float64)
    mixed = loss(student, teacher, LABEL, torch.tensor([1, 0]), share)
    own, other = (decoupled_kd(student, teacher, label) for label in (LABEL, LABEL.flip(0)))
    torch.testing.assert_close(mixed, 0.75 * own + 0.25 * other)
    with pytest.raises(ValidationError, match="both 0"):
        DecoupledKDSettings(target_weight=0, non_target_weight=0)


def test_dist_is_zero_for_correlated_probabilities_and_two_for_opposed_ones() -> None:
    teacher = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    nearer = torch.tensor([[0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    for student, expected in ((nearer, 0.0), (nearer.flip(0), 2.0)):
        by_image, by_class = dist_parts(student.log(), teacher.log())
        assert by_image.item() == pytest.approx(expected, abs=1e-12)
        assert by_class.item() == pytest.approx(expected, abs=1e-12)
    by_image, _ = dist_parts(3 * nearer.flip(0).log(), 3 * teacher.log(), temperature=3)
    assert by_image.item() == pytest.approx(18)


def test_one_image_has_no_correlation_by_class_and_a_warning_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    loss = DistSettings(inter_weight=0, intra_weight=3).build(CONTEXT)
    student = torch.randn(1, 3, requires_grad=True)
    with caplog.at_level(logging.WARNING):
        value = loss(student, torch.randn(1, 3))
        loss(student, torch.randn(1, 3))
    assert value.item() == 0
    assert torch.autograd.grad(value, student)[0].abs().sum() == 0
    assert sum("one row" in record.message for record in caplog.records) == 1
