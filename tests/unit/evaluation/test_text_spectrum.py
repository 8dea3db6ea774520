"""The spectrum of texts: closed forms of simple arrangements, invariance, degenerate sets."""

import math

import numpy as np
import pytest
import torch

from orchestrator.evaluation.text_spectrum import text_spectrum


def test_orthogonal_texts_use_all_directions_but_the_centre() -> None:
    found = text_spectrum(torch.eye(5))
    assert found.eigenvalues == pytest.approx([1 / 5] * 4 + [0], abs=1e-15)
    assert found.singular_values == pytest.approx([1] * 5)
    assert found.effective_rank == pytest.approx(4)
    assert found.participation_ratio == pytest.approx(4)
    assert found.num_large == 4
    assert found.mean_nearest_cosine == 0


def test_two_eigenvalues_by_hand() -> None:
    text = np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])  # variances 4/6 and 2/6
    found = text_spectrum(text)
    assert found.eigenvalues == pytest.approx([4 / 6, 2 / 6])
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert found.effective_rank == pytest.approx(math.exp(entropy))
    assert found.participation_ratio == pytest.approx(1 / (4 / 9 + 1 / 9))
    assert found.mean_nearest_cosine == pytest.approx(4 / 6)  # the last two are at right angles to their nearest


def test_an_eigenvalue_counts_as_large_above_one_percent_of_the_largest() -> None:
    small = 0.09  # sin^2 of the small pair's angle is 0.0081: under one percent of the variance of the large pair
    large = np.array([[1.0, 0, 0], [-1, 0, 0]])
    tilted = np.array([[math.sqrt(1 - small**2), small, 0], [-math.sqrt(1 - small**2), -small, 0]])
    assert text_spectrum(np.concatenate([large, tilted])).num_large == 1
    assert text_spectrum(np.concatenate([large, [[0, 1, 0], [0, -1, 0]]])).num_large == 2


def test_scaling_and_turning_the_texts_changes_nothing() -> None:
    text = np.random.default_rng(0).normal(size=(12, 6))
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    before, after = text_spectrum(text), text_spectrum(7 * text @ turn)
    assert after.values() == pytest.approx(before.values())
    assert after.eigenvalues == pytest.approx(before.eigenvalues)


def test_the_eigenvalues_sum_to_one_less_the_squared_length_of_the_mean() -> None:
    text = np.random.default_rng(0).normal(size=(12, 6))
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    assert text_spectrum(text).eigenvalues.sum() == pytest.approx(1 - np.square(unit.mean(0)).sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_texts_have_no_spectrum_to_measure(dtype: type) -> None:
    found = text_spectrum(np.repeat(np.random.default_rng(0).normal(size=(1, 32)), 9, 0).astype(dtype))
    assert math.isnan(found.effective_rank)
    assert math.isnan(found.participation_ratio)
    assert found.num_large == 0
    assert found.mean_nearest_cosine == pytest.approx(1)


def test_one_text_has_no_nearest() -> None:
    assert math.isnan(text_spectrum(np.ones((1, 4))).mean_nearest_cosine)
