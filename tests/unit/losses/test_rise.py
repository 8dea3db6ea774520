"""RISE: its parts in closed form, what a part of weight 0 needs, mixed targets, refusals."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.rise import anchor_distance, relative_distance, zero_shot_distillation
from orchestrator.losses.rise import RiseSettings

CONTEXT = LossContext((90, 10), 4, 4, 3, 1, 2, embedding_dim=3, num_domains=2)
CLASS_TEXT = torch.tensor([[1.0, 0, 0], [0, 2.0, 0]], dtype=torch.float64)
DOMAIN_TEXT = torch.tensor([[[3.0, 0, 0], [0, 0, 1.0]], [[0, 1.0, 0], [0, 0, 5.0]]], dtype=torch.float64)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


def test_a_student_with_the_teachers_logits_has_nothing_to_learn_from_it() -> None:
    image = normal(5, 3)
    cosine = torch.nn.functional.cosine_similarity(image[:, None], CLASS_TEXT[None], dim=-1)
    same = zero_shot_distillation(100 * cosine, image, CLASS_TEXT, temperature=3, logit_scale=100)
    assert same.item() == pytest.approx(0, abs=1e-12)


def test_uniform_logits_cost_the_squared_temperature_times_the_missing_entropy() -> None:
    image = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)  # as near to both classes: the teacher is uniform too
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    assert zero_shot_distillation(zeros, image, CLASS_TEXT, temperature=3, logit_scale=9).item() == pytest.approx(0)
    sure = zero_shot_distillation(zeros, CLASS_TEXT[:1], CLASS_TEXT, temperature=3, logit_scale=9)
    p = 1 / (1 + math.exp(-3))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert sure.item() == pytest.approx(9 * (math.log(2) - entropy))


def test_the_distance_to_the_own_class_is_a_cosine_distance() -> None:
    embedding = torch.tensor([[5.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]], dtype=torch.float64)
    label = torch.tensor([0, 1, 0])
    assert anchor_distance(embedding, CLASS_TEXT, label).item() == pytest.approx((0 + 2 + 1) / 3)


def test_the_relative_distance_compares_the_softmax_cosines_to_the_domains() -> None:
    label = torch.tensor([1])
    # The class's own text lies at cosines 1 and 0 of its domains; an embedding along the second at 0 and 1.
    near = 1 / (1 + math.exp(-1))
    got = relative_distance(DOMAIN_TEXT[1, 1:], CLASS_TEXT, DOMAIN_TEXT, label)
    assert got.item() == pytest.approx(10 * (2 * near - 1) ** 2)
    assert relative_distance(7 * CLASS_TEXT[1:], CLASS_TEXT, DOMAIN_TEXT, label).item() == pytest.approx(0)


def test_a_mixed_target_gives_the_mixture_of_both_distances() -> None:
    embedding = normal(1, 3)
    target = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    first, second = (anchor_distance(embedding, CLASS_TEXT, torch.tensor([label])) for label in (0, 1))
    torch.testing.assert_close(anchor_distance(embedding, CLASS_TEXT, target), 0.3 * first + 0.7 * second)
    first, second = (relative_distance(embedding, CLASS_TEXT, DOMAIN_TEXT, torch.tensor([label])) for label in (0, 1))
    got = relative_distance(embedding, CLASS_TEXT, DOMAIN_TEXT, target)
    torch.testing.assert_close(got, 0.3 * first + 0.7 * second)


def test_a_zero_embedding_has_no_direction_and_a_finite_gradient() -> None:
    embedding = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    value = anchor_distance(embedding, CLASS_TEXT, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value, embedding)
    assert value.item() == 1
    assert gradient.isfinite().all()


def test_the_total_weighs_the_parts() -> None:
    loss = RiseSettings(kl_weight=0.2, ce_weight=0.8, distance_weight=2.0).build(CONTEXT)
    embedding, logits, label = normal(4, 3), normal(4, 2), torch.tensor([0, 1, 1, 0])
    total = loss(embedding, logits, normal(4, 3), CLASS_TEXT, DOMAIN_TEXT, label)
    seen = loss.observed()
    distance = seen["absolute_distance"] + seen["relative_distance"]
    torch.testing.assert_close(total, 0.2 * seen["kl"] + 0.8 * seen["ce"] + 2 * distance)
    torch.testing.assert_close(seen["ce"], torch.nn.functional.cross_entropy(logits, label))


@pytest.mark.parametrize(
    ("off", "unneeded"),
    [
        ({"ce_weight": 0.0}, set()),
        ({"kl_weight": 0.0}, {"teacher_image"}),
        ({"relative_factor": 0.0}, {"domain_text"}),
        ({"distance_weight": 0.0}, {"student_embedding", "domain_text"}),
        ({"kl_weight": 0.0, "ce_weight": 0.0}, {"teacher_image", "student_logits"}),
        ({"ce_weight": 0.0, "distance_weight": 0.0}, {"student_embedding", "domain_text", "label"}),
    ],
)
def test_a_part_of_weight_0_needs_no_input(off: dict[str, Any], unneeded: set[str]) -> None:
    everything = {"student_embedding", "student_logits", "teacher_image", "class_text", "domain_text", "label"}
    assert set(RiseSettings.model_validate(off).build(CONTEXT).inputs()) == everything - unneeded


def test_settings_that_cannot_teach_anything_are_refused() -> None:
    with pytest.raises(ValidationError, match="all 0"):
        RiseSettings(kl_weight=0, ce_weight=0, distance_weight=0)
    with pytest.raises(ConfigError, match="width 5 with class texts of width 3"):
        RiseSettings().build(LossContext((90, 10), 4, 4, 3, 1, 2, embedding_dim=5, num_domains=2))
    with pytest.raises(ConfigError, match="one domain text"):
        RiseSettings().build(LossContext((90, 10), 4, 4, 3, 1, 2, embedding_dim=3, num_domains=1))
