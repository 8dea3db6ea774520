"""Label-aware smoothing: the smoothing of each class in closed form, and the loss as a mixture."""

import math

import pytest
import torch
from pydantic import ValidationError

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.label_aware_smoothing import Shape, smoothing_of_classes
from orchestrator.losses.label_aware_smoothing import LabelAwareSmoothingSettings

COUNTS = (110, 60, 10)  # q = 1, 1/2, 0


@pytest.mark.parametrize(
    ("shape", "middle"),
    [("concave", math.sin(math.pi / 4)), ("linear", 0.5), ("convex", 1 - math.sin(math.pi / 4))],
)
def test_smoothing_goes_from_the_tail_to_the_head_in_three_shapes(shape: Shape, middle: float) -> None:
    got = smoothing_of_classes(COUNTS, shape, head=0.3, tail=0.1).tolist()
    assert got == pytest.approx([0.3, 0.1 + 0.2 * middle, 0.1])


@pytest.mark.parametrize("shape", ["concave", "linear", "convex"])
def test_balanced_classes_are_all_smoothed_as_the_rarest(shape: Shape) -> None:
    assert smoothing_of_classes((7, 7), shape, head=0.3, tail=0.1).tolist() == pytest.approx([0.1, 0.1])


def test_each_row_is_smoothed_as_its_class_and_a_mixture_as_its_parts() -> None:
    loss = LabelAwareSmoothingSettings(shape="linear").build(LossContext(COUNTS, 4, 4, 4, 1, 3))
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    surprise = -torch.log_softmax(logits, dim=1)[0]
    alone = [loss(logits, torch.tensor([label])) for label in range(3)]
    for label, s in enumerate((0.3, 0.15, 0.0)):
        torch.testing.assert_close(alone[label], (1 - s) * surprise[label] + s * surprise.mean())
    mixed = loss(logits, torch.tensor([0]), torch.tensor([[0.2, 0.8, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(mixed, 0.2 * alone[0] + 0.8 * alone[1])


def test_a_tail_above_the_head_is_refused() -> None:
    with pytest.raises(ValidationError, match="above head"):
        LabelAwareSmoothingSettings(head=0.1, tail=0.2)
