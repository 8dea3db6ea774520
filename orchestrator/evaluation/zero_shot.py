"""Classification by the cosine to class texts, over a set of classes: seen ones, or only unseen ones (OOD).

Holds the OOD paper's protocol as pure functions (methods 1.11). Reads and writes nothing. Knows nothing of models.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import DataError
from orchestrator.evaluation.unit_vectors import Labels, Vectors, as_labels, row_blocks, unit_vectors


def zero_shot_accuracy(
    student: Vectors,
    text: Vectors,
    label: Labels,
    classes: Sequence[int] | None = None,
    *,
    temperature: float = 0.07,
) -> dict[str, float]:
    """Accuracy of choosing the text with the greatest cosine among `classes`.

    Args:
        student: [N, D] embeddings of the test images.
        text: [C, D] text embedding of every class.
        label: [N] rows of `text`.
        classes: the classes on offer, and of which all images are; None: all. For unseen classes the unseen alone.
        temperature: of the test loss.

    Returns:
        as `scores_accuracy`.

    Raises:
        DataError: an image's class is not on offer.
    """
    image = unit_vectors(student)
    texts, truth = among(unit_vectors(text).to(image.device, image.dtype), label, classes)
    return scores_accuracy(lambda rows: image[rows] @ texts.T, truth, len(texts), loss_scale=1 / temperature)


def among(texts: Tensor, label: Labels, classes: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The rows of `texts` [C, ...] of the classes on offer, and each image's position among them, [N].

    Raises:
        DataError: an image's class is not on offer.
    """
    truth = as_labels(label, texts)
    offered = torch.arange(len(texts)) if classes is None else torch.as_tensor(list(classes), dtype=torch.int64)
    offered = offered.to(texts.device)
    position = torch.full((len(texts),), -1, dtype=torch.int64, device=texts.device)
    position[offered] = torch.arange(len(offered), device=texts.device)
    exists = (truth >= 0) & (truth < len(texts))
    at = torch.where(exists, position[truth.clamp(0, len(texts) - 1)], -1)
    if bool((at < 0).any()):
        others = sorted(set(truth[at < 0].tolist()))
        raise DataError(
            f"test images of classes that are not among the {len(offered)} on offer: {others[:8]}",
            expected="only images of those classes: of the unseen ones for OOD, of the trained ones otherwise",
        )
    return texts[offered], at


def scores_accuracy(
    scores_of: Callable[[slice], Tensor], truth: Tensor, num_classes: int, *, loss_scale: float = 1.0, width: int = 0
) -> dict[str, float]:
    """Top-1 accuracies and loss of scores that are computed block by block.

    Args:
        scores_of: rows of the test set -> [n, num_classes] scores.
        truth: [N] columns of the scores.
        loss_scale: the loss is the cross-entropy of `loss_scale` x scores.
        width: numbers that making the scores of one image needs, when they are more than `num_classes`.

    Returns:
        `mean_per_class`: mean of the classes' accuracies, 0..1, classes without a test image left out; `all`: right
        answers over images; `test_loss`: mean over images, nats; `num_images`, `num_classes` (with a test image).
        NaN without an image.
    """
    correct, total = (torch.zeros(num_classes, dtype=torch.float64) for _ in range(2))
    loss = 0.0
    for rows in row_blocks(len(truth), max(num_classes, width)):
        scores, wanted = scores_of(rows), truth[rows]
        loss += float(functional.cross_entropy(scores.double() * loss_scale, wanted, reduction="sum"))
        right = wanted[scores.argmax(1) == wanted]
        correct += torch.bincount(right, minlength=num_classes).cpu()
        total += torch.bincount(wanted, minlength=num_classes).cpu()
    evaluated, num_images = total > 0, float(total.sum())
    some = num_images > 0
    return {
        "mean_per_class": float((correct[evaluated] / total[evaluated]).mean()) if some else math.nan,
        "all": float(correct.sum()) / num_images if some else math.nan,
        "test_loss": loss / num_images if some else math.nan,
        "num_images": num_images,
        "num_classes": float(evaluated.sum()),
    }
