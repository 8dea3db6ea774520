"""Losses on differences of two images' unit embeddings: lengths, vectors, directions, angles.

Holds the four formulas and their module. Reads and writes nothing. Knows nothing of the teacher.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import (
    Guarantee,
    Loss,
    Negatives,
    constant,
    joined,
    unit,
    upcast,
    without_autocast,
)

Variant = Literal["norm_diff_rkd", "norm_diff_ours", "norm_diff_direction_ours", "relative_angle_direction"]
_DIRECTION_EPSILON = 1e-6  # added to the length of a difference before the division by it (research script)


def relative_vector_loss(
    student: Tensor, teacher: Tensor, *, variant: Variant, negatives: Negatives = "per_worker"
) -> Tensor:
    """One of four losses on d_ij = s_i - s_j and e_ij = t_i - t_j of unit vectors; means over all i, j (i = j too).

    * norm_diff_rkd: 2 * mean Huber(|d|, |e|), delta 0.5. * norm_diff_ours: 2 * mean |d - e|.
    * norm_diff_direction_ours: 2 * mean |d/(|d| + 1e-6) - e/(|e| + 1e-6)|.
    * relative_angle_direction: 5 * mean over i, j, k of the absolute difference of the two cosines between d_ij and
      d_ik, and e_ij and e_ik, on rows 0, 2, 4 and so on.
    student [N, d], teacher [N, D], raw (d = D for the two that subtract d and e). A batch of one gives 0. Source: the
    deleted research script of the official code of Li et al., ICCV 2023. Returns a scalar >= 0 in float32 or better,
    the joint one where `negatives` are global.
    """
    student, teacher = joined(upcast(student), negatives), joined(teacher.detach(), negatives)
    with without_autocast(student):
        own, given = unit(student), unit(constant(teacher, student))
        if variant == "norm_diff_rkd":
            return 2 * F.huber_loss(_distances(own), _distances(given), delta=0.5)
        if variant == "norm_diff_ours":
            return 2 * _distances(own - given).mean()  # d_ij - e_ij = (s_i - t_i) - (s_j - t_j)
        if variant == "norm_diff_direction_ours":
            return 2 * torch.linalg.vector_norm(_directions(own) - _directions(given), dim=-1).mean()
        return 5 * (_angles(_directions(own[::2])) - _angles(_directions(given[::2]))).abs().mean()


def _distances(rows: Tensor) -> Tensor:
    """[N, N] distances, taken from differences: those of a matrix product lose the short ones to rounding."""
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _directions(rows: Tensor) -> Tensor:
    """[N, N, D] differences over their lengths plus 1e-6."""
    difference = rows[:, None] - rows
    return difference / (torch.linalg.vector_norm(difference, dim=-1, keepdim=True) + _DIRECTION_EPSILON)


def _angles(directions: Tensor) -> Tensor:
    """[N, N, N] cosines at image i between the directions to j and to k."""
    return directions @ directions.transpose(1, 2)


class RelativeVector(Loss):
    """One of the four formulas."""

    def __init__(self, *, variant: Variant = "norm_diff_ours", negatives: Negatives = "global") -> None:
        super().__init__()
        self.variant: Variant = variant
        self.negatives: Negatives = negatives

    def forward(self, student_embedding: Tensor, teacher_image: Tensor) -> Tensor:
        return relative_vector_loss(student_embedding, teacher_image, variant=self.variant, negatives=self.negatives)


class RelativeAngle(RelativeVector):
    """The formula `relative_angle_direction`, which alone depends on the order of the batch."""

    exemptions: ClassVar[Mapping[Guarantee, str]] = {
        "permutation": "it reads every second image of the batch, as the script does"
    }

    def __init__(self, *, negatives: Negatives = "global") -> None:
        super().__init__(variant="relative_angle_direction", negatives=negatives)
