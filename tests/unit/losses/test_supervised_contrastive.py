"""SupCon: closed forms, anchors without a positive, and the choice of views."""

import math

import pytest
import torch
from torch import Tensor

from orchestrator.losses.formulas.loss import unit
from orchestrator.losses.formulas.projection_head import HeadShape, ProjectionHead
from orchestrator.losses.formulas.supervised_contrastive import supervised_contrastive_loss
from orchestrator.losses.supervised_contrastive import SupervisedContrastiveSettings
from tests.contracts.loss_batch import CONTEXT


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_aligned_pairs_at_right_angles_have_the_closed_value() -> None:
    features, label = torch.eye(4, dtype=torch.float64).repeat(2, 1), torch.arange(4).repeat(2)
    expected = math.log(1 + 6 * math.exp(-1 / 0.5))  # one positive at 1, six negatives at 0
    torch.testing.assert_close(float(supervised_contrastive_loss(features, label, temperature=0.5)), expected)


def test_the_mean_over_positives_stands_outside_the_logarithm() -> None:
    features, label = unit(normal(7, 4)), torch.tensor([0, 1, 0, 2, 1, 0, 1])
    similarity = features @ features.T / 0.3
    anchors = []
    for i in (0, 1, 2, 4, 5, 6):  # class 2 has one member
        others = [j for j in range(7) if j != i]
        total = torch.logsumexp(similarity[i, others], dim=0)
        anchors.append(-torch.stack([similarity[i, j] - total for j in others if label[j] == label[i]]).mean())
    loss = supervised_contrastive_loss(features, label, temperature=0.3)
    torch.testing.assert_close(loss, torch.stack(anchors).mean())


@pytest.mark.parametrize("num_rows", [1, 4])
def test_without_any_positive_the_loss_is_zero_with_zero_gradient(num_rows: int) -> None:
    features = unit(normal(num_rows, 3)).requires_grad_()
    loss = supervised_contrastive_loss(features, torch.arange(num_rows))
    loss.backward()
    assert loss == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_extra_views_leave_out_the_view_of_the_classifier() -> None:
    views, label = normal(6, 3, CONTEXT.feature_dim), torch.arange(6) % 3
    other = views.clone()
    other[:, 0] = 0.3
    torch.manual_seed(0)
    extra = SupervisedContrastiveSettings(views="extra").build(CONTEXT).double()
    assert torch.equal(extra(views, label), extra(other, label))
    torch.manual_seed(0)
    everything = SupervisedContrastiveSettings().build(CONTEXT).double()
    assert everything(views, label) != everything(other, label)
    assert torch.equal(everything(views[:, 1:], label), extra(views, label))


def test_a_head_of_depth_zero_is_linear_and_a_single_row_passes_batch_norm() -> None:
    linear = ProjectionHead(HeadShape(feature_dim=5, dim=3, depth=0)).double()
    rows = normal(4, 2, 5)
    (layer,) = linear.layers
    torch.testing.assert_close(linear(rows), unit(layer(rows)))
    normalised = ProjectionHead(HeadShape(feature_dim=5, dim=3)).double()
    single = rows[:1, 0]
    assert torch.equal(normalised(single), normalised.eval()(single))
