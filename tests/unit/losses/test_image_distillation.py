"""KD-I: closed forms of both parts, and the inputs of a part that is off."""

import math

import pytest
import torch
from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.image_distillation import feature_distillation, logit_distillation
from orchestrator.losses.image_distillation import ImageDistillationSettings

CONTEXT = LossContext((1, 1), 3, 4, 5, 1, 2)


def test_equal_distributions_have_no_distance_whatever_their_offset() -> None:
    logits = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64)
    assert logit_distillation(logits + 7, logits, "teacher_to_student").item() == pytest.approx(0, abs=1e-15)


def test_the_two_directions_are_the_two_divergences() -> None:
    p, q = torch.tensor([[0.8, 0.2]], dtype=torch.float64), torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    forward = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert logit_distillation(q.log(), p.log(), "teacher_to_student").item() == pytest.approx(forward)
    assert logit_distillation(q.log(), p.log(), "student_to_teacher").item() == pytest.approx(reverse)


def test_the_unit_feature_distance_is_twice_one_minus_the_cosine() -> None:
    a = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    assert feature_distillation(a, b).item() == pytest.approx((2 * (1 - 0.6) + 0) / 2)
    assert feature_distillation(a, b, raw=True).item() == pytest.approx((4 + 16 + 49) / 2)
    assert feature_distillation(a, b, raw=True, mean_dims=True).item() == pytest.approx((4 + 16 + 49) / 4)


def test_a_part_of_weight_zero_needs_no_input_and_learns_nothing() -> None:
    logits_only = ImageDistillationSettings(feature_weight=0).build(CONTEXT)
    assert logits_only.inputs() == ("student_logits", "teacher_logits")
    assert list(logits_only.parameters()) == []
    feature_only = ImageDistillationSettings(logit_weight=0).build(CONTEXT)
    assert feature_only.inputs() == ("student_feature", "teacher_image")
    with pytest.raises(ValidationError, match="both 0"):
        ImageDistillationSettings(logit_weight=0, feature_weight=0)


def test_the_parts_are_weighted_and_observed_unweighted() -> None:
    torch.manual_seed(0)
    loss = ImageDistillationSettings(logit_weight=2, feature_weight=3).build(CONTEXT)
    value = loss(torch.randn(4, 2), torch.randn(4, 2), torch.randn(4, 3), torch.randn(4, 5))
    seen = loss.observed()
    torch.testing.assert_close(value.detach(), 2 * seen["logits"] + 3 * seen["feature"])


def test_a_feature_term_without_an_image_teacher_is_refused() -> None:
    with pytest.raises(ConfigError, match="feature_weight: 0"):
        ImageDistillationSettings().build(LossContext((1, 1), 3, 4, 0, 1, 2))


def test_the_teachers_temperature_divides_its_logits_alone() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 2), torch.randn(4, 2)
    softened = ImageDistillationSettings(feature_weight=0, teacher_temperature=4).build(CONTEXT)
    plain = ImageDistillationSettings(feature_weight=0).build(CONTEXT)
    torch.testing.assert_close(softened(student, teacher), plain(student, teacher / 4))
    assert not torch.isclose(softened(student, teacher), plain(student / 4, teacher / 4))


def test_prior_shifted_logits_of_a_student_that_knows_no_image_are_the_class_prior() -> None:
    """All-equal logits + log prior are the prior p; a teacher q then costs sum q log(q / p)."""
    long_tailed = LossContext((9, 1), 3, 4, 5, 1, 2)
    teacher = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    student = torch.full((1, 2), 3.0, dtype=torch.float64)
    shifted = ImageDistillationSettings(feature_weight=0, tau=1).build(long_tailed)
    assert shifted.inputs() == ("student_logits", "teacher_logits")
    assert shifted(student, teacher).item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    half = ImageDistillationSettings(feature_weight=0, tau=0.5).build(long_tailed)
    root = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()  # the prior to the power 1/2: 3 to 1
    assert half(student, root).item() == pytest.approx(0, abs=1e-12)
    raw = ImageDistillationSettings(feature_weight=0).build(long_tailed)
    assert raw(student, teacher).item() == pytest.approx(0, abs=1e-12)
    assert dict(raw.state_dict()) == {}


def test_a_prior_that_some_class_lacks_is_refused_unless_it_has_a_floor() -> None:
    absent = LossContext((2, 0), 3, 4, 5, 1, 2)
    with pytest.raises(ConfigError, match="prior_floor: 1e-9"):
        ImageDistillationSettings(tau=1).build(absent)
    floored = ImageDistillationSettings(feature_weight=0, tau=1, prior_floor=0.25).build(absent)
    teacher = torch.tensor([[0.8, 0.2]]).log()  # 1 to 1/4
    assert floored(torch.zeros(1, 2), teacher).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValidationError, match="tau shifts logits"):
        ImageDistillationSettings(tau=1, logit_weight=0)
