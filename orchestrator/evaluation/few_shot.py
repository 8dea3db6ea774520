"""Unseen classes with a few support images: which they are, classification by retrieval, the closed-set baseline.

Holds the OOD paper's few-shot protocol as pure functions (methods 1.12; retrieval after Tip-Adapter, Zhang et al.
2022). Batches for fine-tuning are composed in `training/few_shot_batches.py`. Reads and writes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.evaluation.unit_vectors import Labels, Vectors, unit_vectors
from orchestrator.evaluation.zero_shot import among, scores_accuracy

SHOTS = 5


def support_rows(
    files: Sequence[str], label: Sequence[int], classes: Sequence[int], shots: int = SHOTS
) -> tuple[list[int], list[int]]:
    """The support rows of the unseen classes, and the rows that remain to be tested.

    Args:
        files: the images' file names; sorted order decides, so that the choice is the same everywhere.
        label: each image's class.
        classes: the unseen classes.
        shots: images for each class; a class with no more than these has no test image.

    Returns:
        (support rows, by class in the order of `classes` and by file; the other rows of these classes, ascending).
    """
    members: dict[int, list[int]] = {number: [] for number in classes}
    for row, number in enumerate(label):
        if number in members:
            members[number].append(row)
    chosen = [sorted(rows, key=lambda row: (files[row], row))[:shots] for rows in members.values()]
    support = [row for rows in chosen for row in rows]
    taken = set(support)
    return support, sorted(row for rows in members.values() for row in rows if row not in taken)


def retrieval_scores(
    student: Tensor,
    text: Tensor,
    support: Tensor,
    support_label: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 5.5,
    as_code: bool = False,
) -> Tensor:
    """score_c = cos(s, text_c) + alpha x sum over the stored copies v of class c of exp(-beta (1 - cos(s, v))).

    The cosine is not divided by a temperature.

    Args:
        student: [n, D] unit embeddings.
        text: [C, D] unit text embeddings.
        support: [M, A, D] unit *teacher* embeddings of M support images in A copies each, the image itself first.
        support_label: [M] rows of `text`.
        as_code: keep only the first image of each class with all its copies. So does the official code, which counts
            copies as shots; recommended are all images.

    Returns:
        [n, C].
    """
    if as_code:
        first = torch.zeros(len(support), dtype=torch.bool, device=support.device)
        for number in support_label.unique():
            first[(support_label == number).nonzero()[0, 0]] = True
        support, support_label = support[first], support_label[first]
    stored = support.flatten(0, 1)
    of_class = support_label.repeat_interleave(support.shape[1])
    affinity = torch.exp(-beta * (1 - student @ stored.T))
    return (student @ text.T).index_add(1, of_class, affinity, alpha=alpha)


def retrieval_accuracy(
    student: Vectors,
    text: Vectors,
    label: Labels,
    support: Vectors,
    support_label: Labels,
    classes: Sequence[int] | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 5.5,
    as_code: bool = False,
) -> dict[str, float]:
    """Accuracy of `retrieval_scores` on the images that remain when the support is taken away.

    Args:
        student: [N, D] embeddings of the test images.
        text: [C, D] of every class; label: [N], support_label: [M] rows of it.
        support: [M, A, D] teacher embeddings, A copies of each support image, the image itself first.
        classes: the classes on offer; None: all.

    Returns:
        as `scores_accuracy`; the loss is that of the scores as they are.

    Raises:
        DataError: a test or support image of a class that is not on offer.
    """
    image = unit_vectors(student)
    texts, stored = (unit_vectors(vectors).to(image.device, image.dtype) for vectors in (text, support))
    assert stored.ndim == 3, "support images, copies, numbers"
    offered, truth = among(texts, label, classes)
    _, of_class = among(texts, support_label, classes)

    def scores_of(rows: slice) -> Tensor:
        return retrieval_scores(image[rows], offered, stored, of_class, alpha=alpha, beta=beta, as_code=as_code)

    return scores_accuracy(scores_of, truth, len(offered), width=stored.shape[0] * stored.shape[1])
