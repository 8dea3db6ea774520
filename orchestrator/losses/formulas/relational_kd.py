"""Relational knowledge distillation: distances and angles among the rows of a batch are the teacher's.

Holds the formulas and their module. Reads and writes nothing. Knows nothing of the networks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from orchestrator import distributed
from orchestrator.losses.formulas.loss import Negatives, constant, unit, upcast, without_autocast
from orchestrator.losses.formulas.output_pair import Output, RelationLoss

TRIPLES_AT_ONCE = 2**24  # angles kept for the backward pass; above it they are computed anew there, part by part


def distance_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of pairwise distances, each side's divided by the mean of its non-zero ones (Park et al. 2019).

    student [N, d], teacher [N, d_t]; the mean is over all N x N pairs. No gradient into the teacher.
    """
    scaled = []
    for rows in (upcast(student), constant(teacher, student)):
        distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        mean = distance.sum() / (distance > 0).sum().clamp_min(1)
        scaled.append(distance / torch.where(mean > 0, mean, 1.0))
    return F.smooth_l1_loss(scaled[0], scaled[1])


def angle_relation(student: Tensor, teacher: Tensor, vertices: slice = slice(None)) -> Tensor:
    """Smooth L1 of the cosines of the angles at i between j and k (Park et al. 2019), mean over all (i, j, k).

    student [N, d], teacher [N, d_t]; `vertices` are the rows that i runs over. No gradient into the teacher.
    """
    student, teacher = upcast(student), constant(teacher, student)
    num_rows = len(student)
    at = torch.arange(num_rows, device=student.device)[vertices].split(max(1, TRIPLES_AT_ONCE // num_rows**2))
    if len(at) == 1:
        total = _angle_difference(student, teacher, at[0])
    else:
        parts = [
            checkpoint(_angle_difference, student, teacher, rows, use_reentrant=False, preserve_rng_state=False)
            for rows in at
        ]
        total = torch.stack(parts).sum()
    return total / (sum(len(rows) for rows in at) * num_rows**2)


def _angle_difference(student: Tensor, teacher: Tensor, vertices: Tensor) -> Tensor:
    cosines = []
    for rows in (student, teacher):
        arm = unit(rows[None] - rows[vertices][:, None])
        cosines.append(arm @ arm.transpose(1, 2))
    return F.smooth_l1_loss(cosines[0], cosines[1], reduction="sum")


def relational_kd(
    student: Tensor,
    teacher: Tensor,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    vertices: slice = slice(None),
) -> Tensor:
    """distance_weight * distance_relation + angle_weight * angle_relation; a scalar >= 0 in float32 or better."""
    with without_autocast(student):
        terms = [0 * upcast(student).sum()]
        if distance_weight > 0:
            terms.append(distance_weight * distance_relation(student, teacher))
        if angle_weight > 0:
            terms.append(angle_weight * angle_relation(student, teacher, vertices))
        return torch.stack(terms).sum()


class RelationalKD(RelationLoss):
    """The formula on features or maps; each worker computes the angles at its own rows, among those of all workers."""

    def __init__(
        self,
        *,
        output: Output = "feature",
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        negatives: Negatives = "global",
    ) -> None:
        super().__init__(output, negatives)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def relation(self, student: Tensor, teacher: Tensor, num_own: int) -> Tensor:
        first = distributed.rank() * num_own if self.negatives == "global" else 0
        return relational_kd(
            student,
            teacher,
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
            vertices=slice(first, first + num_own),
        )
