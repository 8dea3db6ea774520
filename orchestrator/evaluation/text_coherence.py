"""How far a student sees the class texts as its teacher does: M_vlalign, its KL companion, agreement of the arg-max.

Holds pure functions of embeddings. Reads and writes nothing. Definitions: methods 1.10 (Li et al. 2023; detail
recommended there). Cosines are computed in float64 and rounded, so that equal texts tie wherever they stand.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.evaluation.inversions import count_inversions
from orchestrator.evaluation.unit_vectors import Labels, Vectors, as_labels, row_blocks, unit_vectors

_TIE_DECIMALS = 9  # cosines that agree to so many decimals tie: float64 keeps 15, float32 inputs hold 7


def ranking_inversions(student: Vectors, teacher: Vectors, text: Vectors) -> dict[str, float]:
    """M_vlalign in both readings: pairs that student and teacher order oppositely by cosine. Lower is better.

    Args:
        student, teacher: [N, D] in the space of the texts.
        text: [C, D], the label set in question.

    Returns:
        `m_vlalign_inversions`: class pairs per image, mean over images; `m_vlalign_normalised`: the same over
        C(C-1)/2, 0..1; `m_vlalign_per_text_inversions` and `..._normalised`: image pairs per text, mean over texts,
        and over N(N-1)/2. Ties never count. Normalised is NaN where there is no pair.
    """
    image, target, label = _spaces(student, teacher, text)
    num_images, num_texts = len(image), len(label)
    per_image = sum(
        int(count_inversions(_cosines(target[rows], label), _cosines(image[rows], label)).sum())
        for rows in row_blocks(num_images, num_texts)
    )
    per_text = sum(
        int(count_inversions(_cosines(label[rows], target), _cosines(label[rows], image)).sum())
        for rows in row_blocks(num_texts, num_images)
    )
    return {
        "m_vlalign_inversions": per_image / num_images,
        "m_vlalign_normalised": _over_pairs(per_image / num_images, num_texts),
        "m_vlalign_per_text_inversions": per_text / num_texts,
        "m_vlalign_per_text_normalised": _over_pairs(per_text / num_texts, num_images),
    }


def text_distribution_kl(
    student: Vectors, teacher: Vectors, text: Vectors, *, k: int = 256, temperature: float = 0.07
) -> float:
    """Mean over images of KL(teacher || student), in nats, over the k texts nearest to the teacher's embedding.

    Both distributions are softmaxes of cosine / temperature over those k texts (methods 1.4 with its filter off, the
    companion of M_vlalign). k is at most C.
    """
    assert k >= 1
    assert temperature > 0
    image, target, label = _spaces(student, teacher, text)
    k, total = min(k, len(label)), 0.0
    for rows in row_blocks(len(image), len(label)):
        wanted, nearest = (target[rows] @ label.T).topk(k, dim=1)
        got = (image[rows] @ label.T).gather(1, nearest)
        log_wanted, log_got = (functional.log_softmax(cosines / temperature, 1) for cosines in (wanted, got))
        total += float((log_wanted.exp() * (log_wanted - log_got)).sum())
    return total / len(image)


def top_text_agreement(student: Vectors, teacher: Vectors, text: Vectors, label: Labels) -> dict[str, float]:
    """`agreement`: fraction of images for which both choose the same text; `teacher_correct`: the teacher's is right.

    label: [N] rows of `text`.
    """
    image, target, texts = _spaces(student, teacher, text)
    truth = as_labels(label, image)
    agree, correct = 0, 0
    for rows in row_blocks(len(image), len(texts)):
        chosen = (target[rows] @ texts.T).argmax(1)
        agree += int(((image[rows] @ texts.T).argmax(1) == chosen).sum())
        correct += int((chosen == truth[rows]).sum())
    return {"agreement": agree / len(image), "teacher_correct": correct / len(image)}


def _spaces(student: Vectors, teacher: Vectors, text: Vectors) -> tuple[Tensor, Tensor, Tensor]:
    image, target, label = (unit_vectors(vectors, torch.float64) for vectors in (student, teacher, text))
    assert len(image) == len(target) > 0, "one student and one teacher row for each image"
    assert len(label) > 0, "at least one text"
    return image, target.to(image.device), label.to(image.device)


def _cosines(left: Tensor, right: Tensor) -> npt.NDArray[np.float64]:
    cosines: npt.NDArray[np.float64] = np.round((left @ right.T).cpu().numpy(), _TIE_DECIMALS)
    return cosines


def _over_pairs(count: float, size: int) -> float:
    return count / (size * (size - 1) / 2) if size > 1 else math.nan
