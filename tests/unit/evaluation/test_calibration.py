"""Calibration: closed forms, the edges of bins, blocks."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.calibration import calibration


def logits_of(probability: list[list[float]]) -> torch.Tensor:
    return torch.tensor(probability, dtype=torch.float64).log()


def test_by_hand() -> None:
    found = calibration(logits_of([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.25, 0.75]]), np.array([0, 1, 1, 1]))
    assert found["ece"] == pytest.approx((abs(1 - 1.8) + (1 - 0.6) + (1 - 0.75)) / 4)
    assert found["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.75)) / 4)
    assert found["brier"] == pytest.approx(2 * (0.01 + 0.81 + 0.16 + 0.0625) / 4)
    assert found["mean_confidence"] == pytest.approx((0.9 + 0.9 + 0.6 + 0.75) / 4)


def test_a_confidence_on_the_edge_belongs_to_the_lower_bin() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64)  # 0.5 exactly, and 0.88
    found = calibration(logits, np.array([1, 1]), num_bins=2)  # the first image alone in (0, 0.5], and wrong
    assert found["ece"] == pytest.approx((0.5 + 1 - 1 / (1 + math.exp(-2))) / 2)


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharpened_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    probability = generator.dirichlet(np.ones(4), 20_000)
    label = (probability.cumsum(1) < generator.random((20_000, 1))).sum(1)
    logits = torch.from_numpy(probability).log()
    honest, sure = calibration(logits, label), calibration(logits, label, temperature=0.3)
    assert honest["ece"] < 0.015
    assert sure["ece"] > 0.15
    assert honest["nll"] == pytest.approx(log_loss(label, probability), rel=1e-9)
    assert honest["nll"] < sure["nll"]
    assert honest["brier"] < sure["brier"]


def test_uniform_probabilities_of_c_classes() -> None:
    found = calibration(torch.zeros(30, 10), np.arange(30) % 10)
    assert found["ece"] == pytest.approx(0, abs=1e-12)
    assert found["nll"] == pytest.approx(math.log(10))
    assert found["brier"] == pytest.approx(0.9)


def test_wrong_and_certain_is_the_worst() -> None:
    found = calibration(torch.tensor([[1000.0, 0.0]]), np.array([1]))
    assert found == pytest.approx({"ece": 1, "nll": 1000, "brier": 2, "mean_confidence": 1})


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(90, 7, generator=torch.Generator().manual_seed(0))
    whole = calibration(logits, np.arange(90) % 7)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 50)
    assert calibration(logits, np.arange(90) % 7) == pytest.approx(whole)


def test_no_image_is_not_available() -> None:
    assert math.isnan(calibration(torch.empty(0, 3), np.empty(0, np.int64))["ece"])
