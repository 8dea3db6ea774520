"""The cosine classifier: closed values, invariance to lengths, zero vectors, start values, precision."""

import math

import torch

from orchestrator.students.networks.cosine_classifier import CosineClassifier, cosine_logits


def test_a_logit_is_thirty_times_the_cosine_whatever_the_lengths() -> None:
    feature = torch.tensor([[3.0, 0.0], [0.0, -2.0]])
    weight = torch.tensor([[0.5, 0.0], [1.0, 1.0], [0.0, 7.0]])
    half = 30 / math.sqrt(2)
    torch.testing.assert_close(cosine_logits(feature, weight), torch.tensor([[30, half, 0], [0, -half, -30]]))
    torch.testing.assert_close(cosine_logits(9 * feature, weight, scale=1), cosine_logits(feature, weight / 4, scale=1))


def test_a_zero_feature_has_zero_logits_and_a_bounded_gradient() -> None:
    feature = torch.zeros(1, 4, requires_grad=True)
    logits = CosineClassifier(4, 3)(feature)
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros(1, 3))
    assert feature.grad is not None
    assert feature.grad.abs().max() < 100


def test_it_starts_with_random_directions_of_length_one_and_has_no_bias() -> None:
    torch.manual_seed(0)
    classifier = CosineClassifier(8, 5)
    torch.testing.assert_close(classifier.weight.norm(dim=1), torch.ones(5))
    assert [name for name, _ in classifier.named_parameters()] == ["weight"]


def test_autocast_changes_nothing() -> None:
    torch.manual_seed(0)
    classifier, feature = CosineClassifier(16, 5), torch.randn(3, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = classifier(feature)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(feature.float()))
