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

_NO_SPREAD = 1e-13  # a variance of cosines that rounding alone makes (float32 embeddings: 1e-14)


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
        distance = torch.addmm(offset, image[rows], target.T, alpha=-2)
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

    student [N, d], teacher [N, D]; the spaces may differ. NaN where one model's cosines are all equal. The sums over
    pairs are taken in closed form, in float64 and O(N d D): with unit rows U and V, the cosines sum to |U^T 1|^2 and
    their products to ||U^T V||_F^2, diagonal included.
    """
    spaces = [space.double() for space in _pair(student, teacher)]
    num_pairs = len(spaces[0]) * (len(spaces[0]) - 1)
    if num_pairs == 0:
        return math.nan
    own = torch.stack([space.square().sum(1) for space in spaces])  # the diagonals: 1, but 0 for a zero row
    mean = torch.stack([space.sum(0).square().sum() for space in spaces]).sub(own.sum(1)) / num_pairs

    def covariance(first: int, second: int) -> float:
        products = (spaces[first].T @ spaces[second]).square().sum() - own[first] @ own[second]
        return float(products / num_pairs - mean[first] * mean[second])

    spread = (covariance(0, 0), covariance(1, 1))
    return covariance(0, 1) / math.sqrt(spread[0] * spread[1]) if min(spread) > _NO_SPREAD else math.nan


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
