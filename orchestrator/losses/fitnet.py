"""Settings of FitNet hints.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/fitnet.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import Output, dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.fitnet import FitNet


class FitNetSettings(Frozen):
    """Mean squared difference of the teacher's output and a learnt regressor of the student's: Romero et al. 2015.

    `output: map` regresses by a convolution of `kernel_size`, `feature` by a linear layer. The weight is mdistiller's,
    whose regressor also has a BatchNorm and a ReLU; the paper's, and this one, has not.
    """

    kind: Literal["fitnet"] = "fitnet"
    weight: float = Field(default=100.0, ge=0)
    output: Output = "map"
    kernel_size: Literal[1, 3] = 1

    def build(self, context: LossContext) -> "FitNet":
        from orchestrator.losses.formulas.fitnet import FitNet

        student_dim, teacher_dim = dims_of_pair(self.kind, self.output, context)
        return FitNet(
            output=self.output, student_dim=student_dim, teacher_dim=teacher_dim, kernel_size=self.kernel_size
        )
