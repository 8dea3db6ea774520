"""Probabilistic knowledge transfer: a row's neighbours are as probable for the student as for the teacher.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the networks.
"""

import torch
from torch import Tensor

from orchestrator.losses.formulas.loss import constant, upcast, without_autocast
from orchestrator.losses.formulas.output_pair import RelationLoss

PKT_EPSILON = 1e-7


def neighbour_probability(rows: Tensor) -> Tensor:
    """(cosine + 1) / 2 of all pairs of rows [N, d], each row of it divided by its sum: [N, N]."""
    rows = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + PKT_EPSILON)
    similar = (rows @ rows.T + 1) / 2
    return similar / similar.sum(dim=1, keepdim=True)


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the N x N pairs of p_t * log((p_t + e) / (p_s + e)), e = 1e-7 (Passalis and Tefas 2018).

    student [N, d], teacher [N, d_t]. A scalar in float32 or better; no gradient into the teacher.
    """
    with without_autocast(student):
        of_student = neighbour_probability(upcast(student).flatten(1))
        of_teacher = neighbour_probability(constant(teacher, student).flatten(1))
        return (of_teacher * torch.log((of_teacher + PKT_EPSILON) / (of_student + PKT_EPSILON))).mean()


class ProbabilisticKnowledgeTransfer(RelationLoss):
    """The formula on features or maps."""

    def relation(self, student: Tensor, teacher: Tensor, num_own: int) -> Tensor:
        return pkt(student, teacher)
