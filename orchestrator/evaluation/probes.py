"""What class knowledge an embedding holds: nearest neighbours, and a linear classifier trained on it.

Holds pure functions of embeddings. Reads and writes nothing. Source: methods 6.4.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orchestrator.evaluation.unit_vectors import Labels, Vectors, as_labels, row_blocks, unit_vectors

NEIGHBOURS = 20
TEMPERATURE = 0.07  # of the weights of weighted neighbours
REGULARISATION = (0.01, 0.1, 1.0, 10.0, 100.0)  # inverse strengths that the selection split chooses among


def neighbour_classes(
    train: Vectors, train_label: Labels, test: Vectors, *, k: int = NEIGHBOURS, weighted: bool = False
) -> Tensor:
    """The class of the k nearest training embeddings (by cosine) of each test embedding, [N] int64.

    The greatest number of neighbours decides, among equals the greatest sum of exp(cosine / 0.07); with `weighted` that
    sum alone (Wu et al. 2018). k is at most the number of training embeddings.

    Args:
        train: [T, D]; train_label: [T].
        test: [N, D].
    """
    bank, image = unit_vectors(train), unit_vectors(test)
    bank = bank.to(image.device, image.dtype)
    labels, k = as_labels(train_label, image), min(k, len(bank))
    assert len(bank) == len(labels) > 0
    assert k >= 1
    num_classes = int(labels.max()) + 1
    chosen = []
    for rows in row_blocks(len(image), max(len(bank), num_classes)):
        cosines, neighbours = (image[rows] @ bank.T).topk(k, dim=1)
        closeness = torch.exp((cosines - 1).double() / TEMPERATURE)
        votes = torch.zeros(len(cosines), num_classes, dtype=torch.float64, device=image.device)
        votes.scatter_add_(1, labels[neighbours], closeness if weighted else 1 + closeness / (2 * k))  # the rest is < 1
        chosen.append(votes.argmax(1))
    return torch.cat(chosen)


def neighbour_accuracy(
    train: Vectors,
    train_label: Labels,
    test: Vectors,
    test_label: Labels,
    *,
    k: int = NEIGHBOURS,
    weighted: bool = False,
) -> dict[str, float]:
    """`knn_acc@k` (`weighted_knn_acc@k`): fraction of test images whose `neighbour_classes` is their class."""
    chosen = neighbour_classes(train, train_label, test, k=k, weighted=weighted)
    right = (chosen == as_labels(test_label, chosen)).double().mean()
    return {f"{'weighted_' if weighted else ''}knn_acc@{k}": float(right)}


def linear_probe(
    train: Vectors,
    train_label: Labels,
    select: Vectors,
    select_label: Labels,
    report: Vectors,
    report_label: Labels,
    *,
    strengths: Sequence[float] = REGULARISATION,
    max_iterations: int = 1000,
) -> dict[str, float]:
    """Accuracy of a logistic regression (L2, L-BFGS, scikit-learn) on frozen unit embeddings.

    The inverse strength of the regularisation is the one that does best on the selection split, among equals the
    smallest; the report split is looked at once, by that one.

    Args:
        train, select, report: [T, D], [S, D], [N, D] embeddings; with their labels [T], [S], [N].

    Returns:
        `linear_probe_acc` on the report split, `linear_probe_select_acc`, `linear_probe_inverse_strength`, and
        `linear_probe_converged` (1 or 0: `max_iterations` were too few for the chosen one).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    features = [unit_vectors(vectors).cpu().numpy() for vectors in (train, select, report)]
    labels = [as_labels(label, torch.empty(0)).numpy() for label in (train_label, select_label, report_label)]
    best: tuple[float, float, float, Any] | None = None
    for strength in sorted(strengths):
        model = LogisticRegression(C=strength, max_iter=max_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by `linear_probe_converged`
            model.fit(features[0], labels[0])
        accuracy = float(model.score(features[1], labels[1]))
        if best is None or accuracy > best[0]:
            best = (accuracy, strength, float(model.n_iter_.max() < max_iterations), model)
    assert best is not None, "at least one strength"
    return {
        "linear_probe_acc": float(best[3].score(features[2], labels[2])),
        "linear_probe_select_acc": best[0],
        "linear_probe_inverse_strength": best[1],
        "linear_probe_converged": best[2],
    }
