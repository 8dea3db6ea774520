"""Distillation of similarities: what a perfect student gets, entropies, ensembles, several texts, options."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.clip_distillation import ClipDistillationSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss
from orchestrator.losses.formulas.clip_distillation import (
    clip_distillation_loss,
    ensemble_log_probability,
    reinforced_clip_losses,
)
from orchestrator.losses.mobileclip_dr import MobileclipDrSettings

CONTEXT = LossContext((1, 1), 5, 5, 5, 2, 2, embedding_dim=5)
SCALE = torch.tensor(10.0, dtype=torch.float64)


def unit_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_rows, dim, generator=random, dtype=torch.float64), dim=1)


def test_a_student_that_is_the_teacher_has_no_divergence_and_its_entropy_as_cross_entropy() -> None:
    image, text = unit_rows(6), unit_rows(6, seed=1)
    teacher = (image, text, (10.0,))
    kl = clip_distillation_loss(image, text, SCALE, *teacher, subtract_entropy=True)
    assert kl.item() == pytest.approx(0, abs=1e-12)
    rows = torch.softmax(10 * image @ text.T, dim=1)
    columns = torch.softmax(10 * text @ image.T, dim=1)
    entropy = -sum((p * p.log()).sum(dim=1).mean() for p in (rows, columns)) / 2
    torch.testing.assert_close(clip_distillation_loss(image, text, SCALE, *teacher), entropy)


def test_a_very_sharp_perfect_teacher_makes_it_the_clip_loss() -> None:
    image, text, axes = unit_rows(5), unit_rows(5, seed=1), torch.eye(5, dtype=torch.float64)
    got = clip_distillation_loss(image, text, SCALE, axes, axes, (1000.0,))
    torch.testing.assert_close(got, clip_contrastive_loss(image, text, SCALE))


def test_taking_the_entropy_off_changes_the_value_and_no_gradient() -> None:
    image, text, first, second = (unit_rows(6, seed=seed) for seed in range(4))
    image.requires_grad_()
    values = [
        clip_distillation_loss(image, text, SCALE, first, second, (20.0,), subtract_entropy=off)
        for off in (True, False)
    ]
    gradients = [torch.autograd.grad(value, image)[0] for value in values]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert values[0] < values[1]


def test_an_ensemble_is_the_mean_of_its_members_probabilities() -> None:
    one, other = (unit_rows(4, 3), unit_rows(4, 3, seed=1)), (unit_rows(4, 6, seed=2), unit_rows(4, 6, seed=3))
    image, text = torch.cat([one[0], other[0]], dim=1), torch.cat([one[1], other[1]], dim=1)
    got = ensemble_log_probability(image, text, (3, 6), (70.0, 60.0)).exp()
    members = torch.softmax(70 * one[0] @ one[1].T, dim=1), torch.softmax(60 * other[0] @ other[1].T, dim=1)
    torch.testing.assert_close(got, (members[0] + members[1]) / 2)
    shared = ensemble_log_probability(image, text, (3, 6), (70.0,))
    torch.testing.assert_close(shared, ensemble_log_probability(image, text, (3, 6), (70.0, 70.0)))


def test_missing_texts_are_as_if_their_images_were_not_there() -> None:
    every = [unit_rows(6, seed=seed) for seed in range(4)]
    present = torch.tensor([True, False, True, True, False, True])
    kept = [rows[present] for rows in every]
    for off in (False, True):
        whole = clip_distillation_loss(
            every[0], every[1], SCALE, every[2], every[3], (20.0,), subtract_entropy=off, present=present
        )
        part = clip_distillation_loss(kept[0], kept[1], SCALE, kept[2], kept[3], (20.0,), subtract_entropy=off)
        torch.testing.assert_close(whole, part)


def test_a_batch_of_one_has_nothing_to_tell_apart() -> None:
    image = unit_rows(1).requires_grad_()
    value = clip_distillation_loss(image, unit_rows(1, seed=1), SCALE, unit_rows(1), unit_rows(1), (100.0,))
    value.backward()
    assert value.item() == 0
    assert image.grad is not None
    assert not image.grad.any()


def test_real_and_synthetic_texts_are_added_and_weighted() -> None:
    image, teacher = unit_rows(4), unit_rows(4, seed=9)
    texts = torch.stack([unit_rows(4, seed=seed) for seed in (1, 2)], dim=1)
    of_teacher = torch.stack([unit_rows(4, seed=seed) for seed in (3, 4)], dim=1)
    got = reinforced_clip_losses(image, texts, SCALE, teacher, of_teacher, (100.0,), weights=(0.25, 0.75))
    contrastive = sum(clip_contrastive_loss(image, texts[:, q], SCALE) for q in range(2))
    distill = sum(
        clip_distillation_loss(image, texts[:, q], SCALE, teacher, of_teacher[:, q], (100.0,)) for q in range(2)
    )
    torch.testing.assert_close(got, (0.25 * contrastive, 0.75 * distill))


def test_a_text_side_with_one_row_per_image_trains_on_the_first_text_and_one_with_all_on_all() -> None:
    loss = MobileclipDrSettings(contrastive_weight=1).build(CONTEXT).double()
    image, teacher = unit_rows(4), unit_rows(4, seed=9)
    own = torch.stack([unit_rows(4, seed=seed) for seed in (1, 2)], dim=1)
    text = torch.stack([unit_rows(4, seed=seed) for seed in (3, 4)], dim=1)
    fixed = {"student_embedding": image, "teacher_image": teacher}
    both = loss(**fixed, student_text=own, text=text)
    each = [loss(**fixed, student_text=own[:, q], text=text[:, q : q + 1]) for q in range(2)]
    torch.testing.assert_close(both, each[0] + each[1])
    torch.testing.assert_close(loss(**fixed, student_text=own[:, 0], text=text), each[0])


def test_a_teacher_embedding_of_any_length_has_its_members_made_unit() -> None:
    loss = MobileclipDrSettings(teacher_dims=(2, 3)).build(CONTEXT).double()
    fixed = {"student_embedding": unit_rows(4), "student_text": unit_rows(4, seed=1), "text": unit_rows(4)[:, None]}
    members = torch.cat([unit_rows(4, 2, seed=3), unit_rows(4, 3, seed=4)], dim=1)
    stretched = members * torch.tensor([2.0, 2.0, 0.1, 0.1, 0.1])
    torch.testing.assert_close(loss(**fixed, teacher_image=members), loss(**fixed, teacher_image=stretched))


def test_open_clip_adds_both_parts_and_they_are_observed_apart() -> None:
    loss = ClipDistillationSettings().build(CONTEXT).double()
    rows = [unit_rows(4, seed=seed) for seed in range(4)]
    value = loss(student_embedding=rows[0], student_text=rows[1], teacher_image=rows[2], text=rows[3][:, None])
    seen = loss.observed()
    torch.testing.assert_close(value, seen["contrastive"] + seen["distill"])
    torch.testing.assert_close(seen["contrastive"], clip_contrastive_loss(rows[0], rows[1], loss.scale().detach()))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="one for each"):
        MobileclipDrSettings(teacher_dims=(2, 3), teacher_scales=(1, 2, 3))
    with pytest.raises(ValidationError, match="expected 1"):
        MobileclipDrSettings(teacher_dims=(2, 3), teacher_scales=(70, 60), average_after_softmax=False)
    with pytest.raises(ValidationError, match="are 0"):
        ClipDistillationSettings(contrastive_weight=0, distill_weight=0)
    with pytest.raises(ConfigError, match="sum to 6"):
        MobileclipDrSettings(teacher_dims=(2, 4)).build(CONTEXT)
    with pytest.raises(ConfigError, match="one space"):
        ClipDistillationSettings().build(LossContext((1, 1), 5, 6, 5, 1, 2, embedding_dim=5))


def test_the_12m_weights_are_the_default_and_a_single_teacher_has_scale_100() -> None:
    settings = MobileclipDrSettings()
    assert (settings.contrastive_weight, settings.distill_weight, settings.teacher_scales) == (0, 1, (100,))
    assert math.isclose(settings.scale, 1 / 0.07)
