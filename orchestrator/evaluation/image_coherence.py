"""How far a student's image space has the structure of its teacher's: M_rel, M_neigh, correlation, squared distance.

Holds pure functions of embeddings, all blockwise: N images never need an N x N matrix. Reads and writes nothing. The
definitions follow methods 1.10 (Li et al. 2023, "Distilling Large Vision-Language Model with Out-of-Distribution
Generalizability", of which no metric code exists; detail recommended there).
"""

import math

import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.evaluation.unit_vectors import Vectors, mask_own, row_blocks, tie_width, unit_vectors


def own_teacher_nearest(student: Vectors, teacher: Vectors) -> dict[str, float]:
    """M_rel: the fraction of images whose student embedding is nearer to its own teacher embedding than to any other's.

    Higher is better. It falls with the number of images, which is therefore reported. Ties are failures, among them
    duplicates of an image.

    Args:
        student, teacher: [N, D] in one space; unit length is made here.

    Returns:
        `m_rel` 0..1; `m_rel_pairwise`, the fraction of (image, other image) pairs in which the own one is nearer;
        `num_images`. With one image both are NaN: there is no other.
    """
    image, target = _pair(student, teacher)
    _same_space(image, target)
    num_images, wide = len(image), tie_width(image.dtype)
    nearest, pairs = 0, 0
    offset = target.square().sum(1)  # 1, but 0 for a zero row: of two squared distances only this and the dot differ
    for rows in row_blocks(num_images, num_images):
        distance = offset - 2 * image[rows] @ target.T
        own = distance.diagonal(rows.start).clone()
        nearer = (distance > (own + 2 * wide)[:, None]).sum(1)
        pairs += int(nearer.sum())
        nearest += int((nearer == num_images - 1).sum())
    several = num_images > 1
    return {
        "m_rel": nearest / num_images if several else math.nan,
        "m_rel_pairwise": pairs / (num_images * (num_images - 1)) if several else math.nan,
        "num_images": float(num_images),
    }


def similarity_correlation(student: Vectors, teacher: Vectors) -> float:
    """Pearson correlation, -1..1, of the two models' cosines over all pairs of different images.

    student [N, d], teacher [N, D]; the spaces may differ. NaN where one model's cosines are all equal.
    """
    spaces = _pair(student, teacher)
    num_images = len(spaces[0])
    sums, products = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    num_pairs = num_images * (num_images - 1) // 2
    for rows in row_blocks(num_images, num_images):
        upper = torch.ones(rows.stop - rows.start, num_images, dtype=torch.bool, device=spaces[0].device)
        upper = upper.triu(rows.start + 1)
        cosines = torch.stack([(space[rows] @ space.T)[upper].double() for space in spaces])
        sums += cosines.sum(1).cpu()
        products += (cosines @ cosines.T).cpu()
    if num_pairs < 2:
        return math.nan
    covariance = products / num_pairs - torch.outer(sums, sums) / num_pairs**2
    spread = covariance.diagonal()
    if bool((spread <= tie_width(spaces[0].dtype) ** 2).any()):
        return math.nan
    return float(covariance[0, 1] / spread.prod().sqrt())


def neighbour_overlap(student: Vectors, teacher: Vectors, k: int = 10) -> float:
    """M_neigh: mean share, 0..1, of an image's k nearest images that both models agree on. Higher is better.

    Nearest by cosine in each model's own space (student [N, d], teacher [N, D]), itself excluded; k is at most N - 1.
    NaN with one image.
    """
    assert k >= 1, "at least one neighbour"
    image, target = _pair(student, teacher)
    num_images, k = len(image), min(k, len(image) - 1)
    if k < 1:
        return math.nan
    shared = 0
    for rows in row_blocks(num_images, num_images):
        both = torch.cat([_nearest_others(space, rows, k) for space in (image, target)], dim=1).sort(dim=1).values
        shared += int((both[:, 1:] == both[:, :-1]).sum())
    return shared / (num_images * k)


def mean_squared_distance(student: Vectors, teacher: Vectors) -> float:
    """Mean over images of the squared distance of the unit embeddings, 0..4 (the value of L_mse, methods 1.2)."""
    image, target = _pair(student, teacher)
    _same_space(image, target)
    return float((image - target).square().sum(1).double().mean())


def _nearest_others(space: Tensor, rows: slice, k: int) -> Tensor:
    cosines = mask_own(space[rows] @ space.T, rows.start, -math.inf)
    return cosines.topk(k, dim=1, sorted=False).indices


def _pair(student: Vectors, teacher: Vectors) -> tuple[Tensor, Tensor]:
    image, target = unit_vectors(student), unit_vectors(teacher)
    if len(image) != len(target) or len(image) == 0:
        raise DataError(
            f"{len(image)} student embeddings and {len(target)} teacher embeddings",
            expected="one of each for every image of the set, and at least one image",
        )
    dtype = torch.promote_types(image.dtype, target.dtype)
    return image.to(dtype), target.to(image.device, dtype)


def _same_space(image: Tensor, target: Tensor) -> None:
    if image.shape[1] != target.shape[1]:
        raise DataError(
            f"student embeddings of {image.shape[1]} numbers are compared with the teacher's of {target.shape[1]}",
            expected="embeddings in the teacher's space",
            remedy="embed with a student that has a projection into it",
        )
