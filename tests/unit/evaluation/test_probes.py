"""Nearest neighbours against scikit-learn's, and the linear probe's choice of regularisation."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.probes import linear_probe, neighbour_accuracy, neighbour_classes


def clusters(count: int, seed: int, noise: float = 0.6) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 5, count)
    return torch.from_numpy(np.eye(8)[label] + noise * generator.normal(size=(count, 8))), label


def test_one_neighbour_is_scikit_learns_answer() -> None:
    (train, train_label), (test, _) = clusters(200, 0), clusters(60, 1)
    reference = KNeighborsClassifier(1, metric="cosine").fit(train.numpy(), train_label)
    assert neighbour_classes(train, train_label, test, k=1).tolist() == reference.predict(test.numpy()).tolist()


def test_weighted_neighbours_are_scikit_learns_with_the_same_weights() -> None:
    (train, train_label), (test, _) = clusters(200, 0), clusters(60, 1)
    reference = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp(-distance / 0.07))
    reference.fit(train.numpy(), train_label)
    found = neighbour_classes(train, train_label, test, weighted=True)
    assert found.tolist() == reference.predict(test.numpy()).tolist()


def test_more_neighbours_win_and_among_equals_the_nearer() -> None:
    angle = torch.tensor([0.0, 0.3, 0.31, 0.4]).double()
    train = torch.stack([angle.cos(), angle.sin()], 1)
    test = torch.tensor([[1.0, 0.0]])
    assert neighbour_classes(train, np.array([4, 1, 1, 4]), test, k=3).tolist() == [1]
    assert neighbour_classes(train, np.array([4, 1, 1, 4]), test, k=4).tolist() == [4]
    assert neighbour_classes(train, np.array([4, 1, 1, 1]), test, k=4, weighted=True).tolist() == [1]
    assert neighbour_classes(train, np.array([4, 1, 2, 1]), test, k=2).tolist() == [4]


def test_k_beyond_the_training_images_is_all_of_them() -> None:
    assert neighbour_classes(torch.eye(3), np.array([0, 1, 1]), torch.eye(3), k=20).tolist() == [1, 1, 1]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (train, train_label), (test, label) = clusters(200, 0), clusters(60, 1)
    whole = neighbour_accuracy(train, train_label, test, label)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 900)
    assert neighbour_accuracy(train, train_label, test, label) == whole
    assert 0.5 < whole["knn_acc@20"] < 1


def test_the_linear_probe_finds_what_is_linear() -> None:
    (train, train_label), (select, select_label), (report, label) = (clusters(150, seed, 0.1) for seed in range(3))
    found = linear_probe(train, train_label, select, select_label, report, label)
    assert found["linear_probe_acc"] == 1
    assert found["linear_probe_converged"] == 1


def test_the_strength_is_chosen_on_the_selection_split_alone() -> None:
    (train, train_label), (select, select_label), (report, label) = (clusters(150, seed, 0.7) for seed in range(3))
    found = linear_probe(train, train_label, select, select_label, report, label)
    shuffled = linear_probe(train, train_label, select, select_label, report, np.roll(label, 1))
    chosen = ("linear_probe_inverse_strength", "linear_probe_select_acc")
    assert [found[name] for name in chosen] == [shuffled[name] for name in chosen]
    strengths = (0.01, 0.1, 1.0, 10.0, 100.0)
    alone = [
        linear_probe(train, train_label, select, select_label, report, label, strengths=[one]) for one in strengths
    ]
    assert found == max(alone, key=lambda one: one["linear_probe_select_acc"])


def test_among_equal_strengths_the_smallest_is_taken() -> None:
    (train, train_label), (select, select_label) = clusters(150, 0, 0.01), clusters(50, 1, 0.01)
    found = linear_probe(train, train_label, select, select_label, select, select_label, strengths=[10, 1, 100])
    assert (found["linear_probe_inverse_strength"], found["linear_probe_select_acc"]) == (1, 1)


def test_too_few_iterations_are_told() -> None:
    (train, train_label), (select, select_label) = clusters(150, 0), clusters(50, 1)
    found = linear_probe(train, train_label, select, select_label, select, select_label, max_iterations=1)
    assert found["linear_probe_converged"] == 0
