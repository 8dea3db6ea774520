"""L_im-cst of the OOD paper: closed forms, its two forms, masking, the KL mode, the learnt temperature."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.image_contrastive import Mode, image_contrastive_loss
from orchestrator.losses.image_contrastive import ImageContrastiveSettings

CONTEXT = LossContext((1, 1), 6, 6, 6, 1, 2, embedding_dim=6)
N = 5


def pairs(num_rows: int = N) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    student, teacher = (torch.randn(num_rows, 6, generator=random, dtype=torch.float64) for _ in range(2))
    return student, teacher


def test_orthonormal_pairs_give_the_closed_form_in_both_modes() -> None:
    rows = torch.eye(N, dtype=torch.float64)
    wanted = math.log1p((N - 1) * math.exp(-1 / 0.07))
    modes: tuple[Mode, ...] = ("single", "bidirectional")
    for mode in modes:
        assert image_contrastive_loss(3 * rows, rows, mode=mode).item() == pytest.approx(wanted, rel=1e-9)


def test_both_directions_are_the_mean_of_one_and_the_other() -> None:
    student, teacher = pairs()
    one = image_contrastive_loss(student, teacher, mode="single")
    other = image_contrastive_loss(teacher, student, mode="single")
    torch.testing.assert_close(image_contrastive_loss(student, teacher), (one + other) / 2)
    assert one.item() != pytest.approx(other.item())


def test_the_papers_squared_distance_is_the_code_at_half_the_temperature() -> None:
    student, teacher = pairs()
    unit = torch.nn.functional.normalize
    square = (unit(student)[:, None] - unit(teacher)).square().sum(dim=-1)
    paper = torch.nn.functional.cross_entropy(-square / 0.3, torch.arange(N))
    ours = image_contrastive_loss(student, teacher, temperature=0.3, mode="single", form="sq_l2")
    torch.testing.assert_close(ours, paper)
    torch.testing.assert_close(ours, image_contrastive_loss(student, teacher, temperature=0.15, mode="single"))


@pytest.mark.parametrize("mode", ["single", "bidirectional", "kl"])
def test_a_batch_of_one_is_0_with_zero_gradient(mode: Mode) -> None:
    student, teacher = pairs(1)
    loss = image_contrastive_loss(student.requires_grad_(), teacher, mode=mode)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_masked_images_of_the_same_class_are_no_negatives() -> None:
    student, teacher = pairs()
    settings = ImageContrastiveSettings(mask_same_class=True, mode="single")
    loss = settings.build(CONTEXT)
    assert loss(student, teacher, torch.zeros(N, dtype=torch.int64)).item() == 0
    torch.testing.assert_close(
        loss(student, teacher, torch.arange(N)), image_contrastive_loss(student, teacher, mode="single")
    )
    one_of_each = loss(student, teacher, torch.tensor([0, 0, 1, 1, 1]))
    cosine = torch.nn.functional.normalize(student) @ torch.nn.functional.normalize(teacher).T / 0.07
    terms = [
        cosine[i, [i, *others]].logsumexp(0) - cosine[i, i]
        for i, others in enumerate([[2, 3, 4], [2, 3, 4], [0, 1], [0, 1], [0, 1]])
    ]
    torch.testing.assert_close(one_of_each, torch.stack(terms).mean())


def test_the_kl_mode_adds_nothing_to_a_student_that_is_its_teacher() -> None:
    student, teacher = pairs()
    torch.testing.assert_close(
        image_contrastive_loss(teacher, teacher, mode="kl"), image_contrastive_loss(teacher, teacher)
    )
    plain = image_contrastive_loss(student, teacher)
    torch.testing.assert_close(image_contrastive_loss(student, teacher, mode="kl", kl_weight=0), plain)
    once, twice = (image_contrastive_loss(student, teacher, mode="kl", kl_weight=weight) for weight in (1, 2))
    torch.testing.assert_close(twice - plain, 2 * (once - plain))
    assert once > plain


def test_a_learnt_temperature_starts_at_its_setting_and_stays_above_the_clamp() -> None:
    student, teacher = pairs()
    loss = ImageContrastiveSettings(learnable=True, temperature=0.2).build(CONTEXT)
    torch.testing.assert_close(
        loss(student, teacher), image_contrastive_loss(student, teacher, temperature=0.2), rtol=1e-6, atol=0
    )
    assert loss.observed()["temperature"].item() == pytest.approx(0.2)
    with torch.no_grad():
        loss.log_temperature.copy_(torch.tensor(-9.0))
    loss.after_step()
    assert loss.observed()["temperature"].item() == pytest.approx(0.01)
    with pytest.raises(ValidationError, match=r"temperature 0\.005 is below 0\.01"):
        ImageContrastiveSettings(learnable=True, temperature=0.005)
