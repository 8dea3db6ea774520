"""ProCo: class statistics, concentration, logits as expectations, the order of events, epochs and resume."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.loss import unit
from orchestrator.losses.formulas.proco import (
    ClassStatistics,
    ProCo,
    ProCoEstimator,
    class_means,
    concentration,
    proco_logits,
    proco_loss,
)
from orchestrator.losses.proco import ProCoSettings
from tests.contracts.loss_batch import CONTEXT

SMALL = ProCoSettings(head_batch_norm=False, head_dim=9)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(seed: int = 0) -> ProCo:
    torch.manual_seed(seed)
    return SMALL.build(CONTEXT).double()


def test_a_mean_is_that_of_all_features_since_the_reset_and_an_absent_class_stays_as_it_is() -> None:
    statistics = ClassStatistics(3, 4).double()
    statistics.reset()
    start = statistics.mean.clone()
    features, label = normal(10, 4), torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    for part in (slice(0, 2), slice(2, 7), slice(7, 10)):
        statistics.update(*class_means(features[part], label[part], 3))
    for c in (0, 1):
        torch.testing.assert_close(statistics.mean[c], features[label == c].mean(dim=0))
    assert torch.equal(statistics.mean[2], start[2])
    assert statistics.count.tolist() == [3, 7, 0]


def test_concentration_follows_the_mean_length_and_is_cut_at_a_hundred_thousand() -> None:
    length = torch.tensor([0.0, 0.9, 1 - 1e-7, 1.0, 1.0001], dtype=torch.float64)
    mean = length[:, None] * unit(torch.ones(5, 19, dtype=torch.float64))
    expected = torch.tensor([0.0, 90.0, 1e5, 1e5, 1e5], dtype=torch.float64)
    torch.testing.assert_close(concentration(mean), expected)


@pytest.mark.parametrize("kappa", [0.5, 20.0, 1e5])
def test_a_logit_is_the_log_of_the_expected_exponential_under_the_class_distribution(kappa: float) -> None:
    direction = unit(normal(1, 3))
    logits = proco_logits(direction, 0.9 * direction, torch.tensor([kappa]), temperature=0.5)
    shifted = kappa + 2.0  # E exp(2 cos) over the sphere in three dimensions, in closed form
    log_sinh = [k + math.log1p(-math.exp(-2 * k)) - math.log(k) for k in (shifted, kappa)]
    torch.testing.assert_close(float(logits), log_sinh[0] - log_sinh[1], rtol=1e-9, atol=0)


def test_the_gradient_of_the_logits_is_exact_while_the_statistics_stand_still() -> None:
    z, mean = unit(normal(4, 6)).requires_grad_(), 0.8 * unit(normal(3, 6, seed=1))
    kappa = torch.tensor([0.0, 15.0, 1e5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda rows: proco_logits(rows, mean, kappa, temperature=0.2), (z,))


def test_a_zero_vector_and_a_mean_without_direction_give_finite_logits_and_gradients() -> None:
    z = torch.zeros(2, 5, requires_grad=True)
    logits = proco_logits(z, torch.zeros(3, 5), torch.zeros(3), temperature=0.07)
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros(2, 3))
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_a_view_sees_the_statistics_with_its_own_and_all_earlier_features() -> None:
    torch.manual_seed(0)
    estimator = ProCoEstimator(3, 5).double()
    first, second, label = unit(normal(6, 5)), unit(normal(6, 5, seed=1)), torch.tensor([0, 1, 2, 0, 1, 2])
    estimator(first, label, temperature=0.1)
    logits = estimator(second, label, temperature=0.1)
    rows = torch.cat([first, second])
    mean = torch.stack([rows[label.repeat(2) == c].mean(dim=0) for c in range(3)])
    torch.testing.assert_close(logits, proco_logits(second, mean, concentration(mean), temperature=0.1))


def test_an_epoch_starts_with_the_statistics_of_the_last_one_and_counts_anew() -> None:
    loss = small()
    loss(normal(8, 3, 6), torch.arange(8) % 5)
    last = loss.estimator.current.mean.clone()
    loss.start_epoch(1)
    assert torch.equal(loss.estimator.old.mean, last)
    assert loss.estimator.old.count.sum() == 16
    assert loss.estimator.current.count.sum() == 0
    lengths = loss.estimator.current.mean.norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.9), rtol=1e-6, atol=0)


def test_outside_training_the_statistics_stay() -> None:
    loss = small().eval()
    before = loss.estimator.old.mean.clone()
    assert loss(normal(8, 3, 6), torch.arange(8) % 5).isfinite()
    assert torch.equal(loss.estimator.old.mean, before)


def test_a_resumed_loss_continues_as_the_one_that_was_saved() -> None:
    loss, other = small(), small(seed=9)
    label = torch.arange(8) % 5
    loss.start_epoch(0)
    loss(normal(8, 3, 6), label)
    other.load_state_dict(loss.state_dict())
    for step in (1, 2):
        for one in (loss, other):
            one.start_epoch(step)
        views = normal(8, 3, 6, seed=step)
        assert torch.equal(loss(views, label), other(views, label))


def test_a_batch_of_one_makes_its_class_a_point_of_the_largest_concentration() -> None:
    torch.manual_seed(0)
    estimator = ProCoEstimator(2, 7)
    z = unit(normal(1, 7)).float()
    logits = estimator(z, torch.tensor([1]), temperature=0.07)
    torch.testing.assert_close(estimator.old.mean[1], z[0])
    assert concentration(estimator.old.mean)[1] == 1e5
    torch.testing.assert_close(float(logits[0, 1]), 1 / 0.07, rtol=1e-3, atol=0)


def test_the_loss_is_the_mean_over_views_of_the_logit_adjusted_cross_entropy() -> None:
    log_prior = torch.log(torch.tensor([0.75, 0.25], dtype=torch.float64))
    even = torch.zeros(3, 2, dtype=torch.float64)
    label = torch.tensor([0, 1, 1])
    expected = -(math.log(0.75) + 2 * math.log(0.25)) / 3
    torch.testing.assert_close(float(proco_loss([even, even], label, log_prior)), expected)
    torch.testing.assert_close(float(proco_loss([even], label, log_prior, tau=0)), math.log(2))


def test_without_batch_norm_the_classifiers_view_has_no_gradient() -> None:
    views = normal(8, 3, 6).requires_grad_()
    small()(views, torch.arange(8) % 5).backward()
    assert views.grad is not None
    assert views.grad[:, 0].abs().sum() == 0
    assert (views.grad[:, 1:].abs().sum(dim=(0, 2)) > 0).all()


def test_one_view_or_a_class_without_an_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs 2 views"):
        ProCoSettings().build(replace(CONTEXT, num_views=1))
    empty = replace(CONTEXT, class_count=(200, 90, 30, 9, 0))
    with pytest.raises(ConfigError, match=r"no log prior \(labels \[4\]\)"):
        ProCoSettings().build(empty)
    assert ProCoSettings(prior_floor=1e-9).build(empty).log_prior.isfinite().all()
