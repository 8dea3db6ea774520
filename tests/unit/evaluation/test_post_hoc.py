"""Corrections after training: they undo a known prior exactly, and refuse priors that are none."""

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.evaluation.post_hoc import adjust_logits, prior_of, shift_prior, tau_normalize

COUNT = torch.tensor([60, 30, 10])


def likelihoods() -> torch.Tensor:
    """log p(x | c) of four images under three classes."""
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_adjusted_logits_of_a_bayes_classifier_are_its_likelihoods() -> None:
    trained = likelihoods() + torch.log(prior_of(COUNT))
    torch.testing.assert_close(adjust_logits(trained, prior_of(COUNT)), likelihoods())
    half = adjust_logits(trained, prior_of(COUNT), tau=0.5)
    torch.testing.assert_close(half, likelihoods() + 0.5 * torch.log(prior_of(COUNT)))
    assert torch.equal(adjust_logits(trained, prior_of(COUNT), tau=0), trained)


def test_shifted_probabilities_are_the_bayes_posterior_under_the_test_prior() -> None:
    test_prior = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    trained = likelihoods() + torch.log(prior_of(COUNT))
    joint = likelihoods().exp() * test_prior
    posterior = joint / joint.sum(dim=1, keepdim=True)
    torch.testing.assert_close(shift_prior(trained, prior_of(COUNT), test_prior).softmax(dim=1), posterior)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)  # logits of a logit-adjusted training
    torch.testing.assert_close(shift_prior(likelihoods(), uniform, test_prior).softmax(dim=1), posterior)


def test_a_class_that_the_test_set_lacks_is_never_predicted() -> None:
    shifted = shift_prior(likelihoods(), prior_of(COUNT), torch.tensor([0.5, 0.5, 0.0]))
    assert (shifted.argmax(dim=1) != 2).all()
    torch.testing.assert_close(shifted.softmax(dim=1).sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_logits_keep_their_number_format() -> None:
    assert adjust_logits(likelihoods().float(), prior_of(COUNT)).dtype == torch.float32
    assert shift_prior(likelihoods().float(), prior_of(COUNT), prior_of(COUNT)).dtype == torch.float32


def test_priors_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 classes is 0 \(labels \[1\]\)"):
        adjust_logits(likelihoods(), prior_of(torch.tensor([5, 0, 5])))
    with pytest.raises(ConfigError, match=r"sums to 1\.5"):
        shift_prior(likelihoods(), prior_of(COUNT), torch.tensor([0.5, 0.5, 0.5]))


def test_tau_normalised_rows_have_the_power_one_minus_tau_of_their_length() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.25], [0.0, 0.0]])
    for tau in (0.0, 0.5, 1.0):
        scaled = tau_normalize(weight, tau=tau)
        torch.testing.assert_close(scaled[:2].norm(dim=1), weight[:2].norm(dim=1) ** (1 - tau))
        assert torch.equal(scaled[2], torch.zeros(2))
    torch.testing.assert_close(tau_normalize(weight, tau=0.0), weight)
