"""LDAM: margins in closed form, and what they do to the logits."""

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.ldam import ldam_margin
from orchestrator.losses.ldam import LdamSettings


def test_margins_go_with_the_fourth_root_and_the_rarest_class_has_the_largest() -> None:
    assert ldam_margin((16, 81, 1), 0.5).tolist() == pytest.approx([0.5 / 2, 0.5 / 3, 0.5])


def test_only_the_true_logit_is_lowered_and_all_are_scaled() -> None:
    loss = LdamSettings(scale=30, max_margin=0.5).build(LossContext((16, 1), 4, 4, 4, 1, 2))
    logits = torch.tensor([[0.4, 0.1], [0.4, 0.1]], dtype=torch.float64)
    lowered = 30 * torch.tensor([[0.4 - 0.25, 0.1], [0.4, 0.1 - 0.5]], dtype=torch.float64)
    label = torch.tensor([0, 1])
    torch.testing.assert_close(loss(logits, label), torch.nn.functional.cross_entropy(lowered, label))


def test_a_mixed_target_lowers_each_logit_by_its_share() -> None:
    loss = LdamSettings(scale=2, max_margin=1).build(LossContext((16, 1), 4, 4, 4, 1, 2))
    target = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    lowered = 2 * torch.tensor([[0.4 - 0.125, 0.1 - 0.75]], dtype=torch.float64)
    got = loss(torch.tensor([[0.4, 0.1]], dtype=torch.float64), torch.tensor([1]), target)
    torch.testing.assert_close(got, torch.nn.functional.cross_entropy(lowered, target))


def test_a_class_without_training_images_has_no_finite_margin() -> None:
    with pytest.raises(ConfigError, match=r"labels \[0\]"):
        LdamSettings().build(LossContext((0, 9), 4, 4, 4, 1, 2))
