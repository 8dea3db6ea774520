"""CLIP-KD: each part's closed form, analytic gradients against autograd, the switches of paper and code."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.clip_kd import ClipKdSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.clip_kd import (
    contrastive_gradients,
    crossed_distillation,
    crossed_logits,
    feature_distillation_of_towers,
    gradient_distillation,
    interactive_contrastive,
    relational_distillation,
)

CONTEXT = LossContext((1, 1), 5, 5, 5, 1, 2, embedding_dim=5)
WIDER = LossContext((1, 1), 5, 8, 8, 1, 2, embedding_dim=5)
SCALE = torch.tensor(7.0, dtype=torch.float64)
ONLY = {"contrastive_weight": 0, "fd_weight": 0, "crd_weight": 0, "icl_weight": 0}


def unit_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_rows, dim, generator=random, dtype=torch.float64), dim=1)


def batch(dim: int = 5) -> dict[str, Tensor]:
    return {
        "student_embedding": 3 * unit_rows(6),
        "student_text": 2 * unit_rows(6, seed=1),
        "teacher_image": unit_rows(6, dim, seed=2),
        "text": unit_rows(6, dim, seed=3)[:, None],
    }


def test_opposite_features_are_at_distance_four_over_d_in_each_tower() -> None:
    image, text = unit_rows(6), unit_rows(6, seed=1)
    assert feature_distillation_of_towers(image, text, image, text).item() == 0
    got = feature_distillation_of_towers(-image, -text, image, text)
    assert got.item() == pytest.approx(2 * 4 / 5)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_analytic_gradients_are_those_of_autograd(inverse: bool) -> None:
    anchor, other = unit_rows(6).requires_grad_(), unit_rows(6, seed=1).requires_grad_()
    factor = 1 / SCALE if inverse else SCALE
    loss = torch.nn.functional.cross_entropy(factor * anchor @ other.T, torch.arange(6))
    wanted = torch.autograd.grad(loss, (anchor, other))
    got = contrastive_gradients(anchor, other, SCALE, inverse_scale=inverse)
    torch.testing.assert_close(got, wanted)


def test_a_student_that_is_the_teacher_has_no_divergence_and_no_distance() -> None:
    image, text = unit_rows(6), unit_rows(6, seed=1)
    logits = SCALE * image @ text.T
    assert relational_distillation(logits, logits).item() == pytest.approx(0, abs=1e-12)
    assert gradient_distillation((image, text, SCALE), (image, text, SCALE)).item() == 0
    crossed = crossed_logits(image, text, image, text, SCALE)
    assert crossed_distillation(crossed, logits).item() == pytest.approx(0, abs=1e-12)


def test_interactive_contrast_of_orthogonal_pairs_gives_the_closed_form() -> None:
    axes = torch.eye(4, dtype=torch.float64)
    crossed = crossed_logits(axes, axes, axes, axes, torch.tensor(2.0, dtype=torch.float64))
    assert interactive_contrastive(crossed).item() == pytest.approx(math.log(1 + 3 * math.exp(-2)))


def test_every_part_leaves_out_images_without_a_text() -> None:
    settings = ClipKdSettings(fd_weight=1, cross_kd_weight=1, gd_weight=1, afd_weight=1)
    loss = settings.build(WIDER).double()
    text_id = torch.tensor([0, -1, 1, 2, -1, 3])[:, None]
    present, inputs = text_id[:, 0] >= 0, batch(8)
    whole = loss(**inputs, text_id=text_id)
    seen = loss.observed()
    part = loss(**{name: rows[present] for name, rows in inputs.items()})
    torch.testing.assert_close(whole, part)
    torch.testing.assert_close(seen, loss.observed())


def test_the_value_is_the_weighted_sum_of_the_parts_it_shows() -> None:
    loss = ClipKdSettings(fd_weight=2000, icl_weight=0.5, gd_weight=3).build(CONTEXT).double()
    value = loss(**batch())
    seen = loss.observed()
    weights = {"contrastive": 1, "fd": 2000, "crd": 1, "icl": 0.5, "gd": 3}
    assert set(seen) == {"scale", *weights}
    torch.testing.assert_close(value, torch.stack([weight * seen[part] for part, weight in weights.items()]).sum())


def test_the_codes_scale_is_the_logarithm_and_the_papers_its_exponential() -> None:
    values = []
    for without_exp in (False, True):
        loss = ClipKdSettings(**{**ONLY, "icl_weight": 1}, scale_without_exp=without_exp).build(CONTEXT).double()
        values.append(loss(**batch()))
    rows = batch()
    image, text = unit_rows(6), unit_rows(6, seed=1)
    for value, scale in zip(values, (1 / 0.07, math.log(1 / 0.07)), strict=True):
        crossed = crossed_logits(image, text, rows["teacher_image"], rows["text"][:, 0], torch.tensor(scale).double())
        torch.testing.assert_close(value, interactive_contrastive(crossed), rtol=1e-6, atol=0)


def test_projections_stand_only_where_widths_differ_and_a_part_needs_them() -> None:
    def names(context: LossContext, **weights: float) -> set[str]:
        return {
            name.split(".")[0] for name, _ in ClipKdSettings(**{**ONLY, **weights}).build(context).named_parameters()
        }

    assert names(CONTEXT, fd_weight=1) == set()
    assert names(WIDER, fd_weight=1) == {"image_projection", "text_projection"}
    assert names(WIDER, crd_weight=1) == {"scale"}
    assert names(CONTEXT, afd_weight=1) == {"image_fusion", "text_fusion", "fusion_scale"}


def test_a_batch_of_one_leaves_only_the_features_to_follow() -> None:
    loss = ClipKdSettings(cross_kd_weight=1, gd_weight=1, afd_weight=1).build(CONTEXT).double()
    value = loss(**{name: rows[:1] for name, rows in batch().items()})
    torch.testing.assert_close(value, 2000 * loss.observed()["fd"])


def test_no_part_at_all_and_towers_of_two_spaces_are_refused() -> None:
    with pytest.raises(ValidationError, match="all parts"):
        ClipKdSettings(**ONLY)
    with pytest.raises(ConfigError, match="one space"):
        ClipKdSettings().build(LossContext((1, 1), 5, 6, 5, 1, 2, embedding_dim=5))
    with pytest.raises(ConfigError, match="two towers"):
        ClipKdSettings().build(LossContext((1, 1), 5, 5, 5, 1, 2))
