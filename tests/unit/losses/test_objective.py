"""The objective: weights, names, missing inputs."""

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.losses import (
    ImageDistillationSettings,
    LogitAdjustedCrossEntropySettings,
    LossSettings,
    TextContrastiveSettings,
)
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import SUPPLIED_BY, Objective
from orchestrator.vocabulary import BATCH_INPUTS

CONTEXT = LossContext((5, 3), 4, 4, 4, 1, 2)


def test_the_total_is_the_weighted_sum_of_the_named_parts() -> None:
    torch.manual_seed(0)
    settings: dict[str, LossSettings] = {
        "classes": LogitAdjustedCrossEntropySettings(weight=2),
        "text": TextContrastiveSettings(weight=0.5),
    }
    objective = Objective.build(settings, CONTEXT)
    batch = {
        "student_logits": torch.randn(3, 2, requires_grad=True),
        "label": torch.tensor([0, 1, 1]),
        "text_prediction": torch.randn(3, 4, requires_grad=True),
        "text": torch.nn.functional.normalize(torch.randn(3, 1, 4), dim=-1),
        "text_id": torch.tensor([[0], [1], [2]]),
        "something_else": torch.zeros(()),
    }
    assert objective.required_inputs() == set(batch) - {"something_else"}
    total, parts = objective(batch)
    assert sorted(parts) == ["classes", "text", "text.temperature"]
    torch.testing.assert_close(total.detach(), 2 * parts["classes"] + 0.5 * parts["text"])
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_a_loss_of_weight_zero_is_left_out_and_needs_no_input() -> None:
    settings: dict[str, LossSettings] = {
        "classes": LogitAdjustedCrossEntropySettings(),
        "text": TextContrastiveSettings(weight=0),
    }
    objective = Objective.build(settings, CONTEXT)
    assert objective.required_inputs() == {"student_logits", "label"}
    assert list(objective.parameters()) == []


def test_missing_inputs_are_all_named_with_their_loss_and_what_supplies_them() -> None:
    settings: dict[str, LossSettings] = {"image": ImageDistillationSettings(), "text": TextContrastiveSettings()}
    objective = Objective.build(settings, CONTEXT)
    objective.check(set(BATCH_INPUTS))
    with pytest.raises(ConfigError) as caught:
        objective.check({"student_logits", "student_feature", "text_prediction", "text"})
    text = str(caught.value)
    for name in ("teacher_logits", "teacher_image"):
        assert f"losses.image needs {name}, supplied by: {SUPPLIED_BY[name]}" in text
    assert f"losses.text needs text_id, supplied by: {SUPPLIED_BY['text_id']}" in text


def test_every_input_of_the_vocabulary_says_what_supplies_it() -> None:
    assert set(SUPPLIED_BY) == BATCH_INPUTS


def test_an_objective_without_a_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="no loss"):
        Objective.build({"text": TextContrastiveSettings(weight=0)}, CONTEXT)


def test_what_a_loss_learns_is_in_the_state_under_its_name() -> None:
    objective = Objective.build({"text": TextContrastiveSettings()}, CONTEXT)
    assert list(objective.state_dict()) == ["losses.text.log_scale"]
