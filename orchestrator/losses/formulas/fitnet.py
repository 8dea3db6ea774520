"""FitNet hints: a learnt regressor takes the student's output to the teacher's.

Holds the formula and its module, which learns the regressor. Reads and writes nothing. Knows nothing of the networks.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.losses.formulas.loss import constant, upcast
from orchestrator.losses.formulas.output_pair import Output, OutputPairLoss, pooled_alike


def hint_distance(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over all elements (Romero et al. 2015, with a mean for their sum).

    Both of one shape, [N, D] or [N, c, h, w]. A scalar >= 0 in float32 or better; no gradient into the teacher.
    """
    return F.mse_loss(upcast(regressed), constant(teacher, regressed))


class FitNet(OutputPairLoss):
    """The formula of a regressor's output: a linear layer of the feature, or a convolution of the map.

    Where the maps differ in size, the larger is average-pooled to the smaller before the regressor.
    """

    def __init__(self, *, output: Output, student_dim: int, teacher_dim: int, kernel_size: int = 1) -> None:
        super().__init__(output)
        self.regressor: nn.Module = (
            nn.Linear(student_dim, teacher_dim)
            if output == "feature"
            else nn.Conv2d(student_dim, teacher_dim, kernel_size, padding=kernel_size // 2)
        )

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.output == "map":
            student, teacher = pooled_alike(student, teacher)
        return hint_distance(self.regressor(student), teacher)
