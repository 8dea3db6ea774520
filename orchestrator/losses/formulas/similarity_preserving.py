"""Similarity-preserving distillation: rows that are alike for the teacher are alike for the student.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the networks.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Negatives, constant, upcast, without_autocast
from orchestrator.losses.formulas.output_pair import Output, RelationLoss

RowNorm = Literal["l2", "l1"]


def similarity_preserving(student: Tensor, teacher: Tensor, *, row_norm: RowNorm = "l2") -> Tensor:
    """|R(S S^T) - R(T T^T)|_F^2 / N^2, R dividing each row by its norm (Tung and Mori 2019).

    student [N, d], teacher [N, d_t]; of maps, all that follows the batch is flattened. "l1" is torchdistill's norm. A
    scalar >= 0 in float32 or better; no gradient into the teacher.
    """
    with without_autocast(student):
        similar = []
        for rows in (upcast(student), constant(teacher, student)):
            flat = rows.flatten(1)
            similar.append(F.normalize(flat @ flat.T, p=2.0 if row_norm == "l2" else 1.0, dim=1))
        return (similar[0] - similar[1]).square().mean()


class SimilarityPreserving(RelationLoss):
    """The formula on features or maps."""

    def __init__(
        self, *, output: Output = "feature", row_norm: RowNorm = "l2", negatives: Negatives = "global"
    ) -> None:
        super().__init__(output, negatives)
        self.row_norm: RowNorm = row_norm

    def relation(self, student: Tensor, teacher: Tensor, num_own: int) -> Tensor:
        return similarity_preserving(student, teacher, row_norm=self.row_norm)
