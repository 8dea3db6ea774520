"""Settings of the asymmetric loss of several labels of an image.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/multi_label_asymmetric.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.multi_label_asymmetric import MultiLabelAsymmetric


class MultiLabelAsymmetricSettings(Frozen):
    """Focal binary cross-entropy of each class, negatives shifted, summed over classes (Ridnik et al., ICCV 2021).

    Defaults are those of the OOD paper's robotics experiment. A class's probability is the softmax over its positive
    and its negative prompt, that is the sigmoid of their difference: `student_logits` are read as that difference. A
    learnt scalar bias is added to it as tanh(bias) (`learn_bias`). The official code adds the bias without tanh at
    test time; see `multi_label_prediction(..., raw_bias=True)`. The target is `target` [N, C] where the batch has one,
    else the label alone.
    """

    kind: Literal["multi_label_asymmetric"] = "multi_label_asymmetric"
    weight: float = Field(default=1.0, ge=0)
    gamma_pos: float = Field(
        default=1.0, ge=0, description="focal power of positive classes; larger: easy ones count less"
    )
    gamma_neg: float = Field(
        default=2.0, ge=0, description="focal power of negative classes; larger: easy ones count less"
    )
    shift: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="added to a negative's probability of being absent, at most 1: very easy negatives count nothing",
    )
    eps: float = Field(default=1e-8, gt=0, lt=1, description="least probability of which the logarithm is taken")
    learn_bias: bool = True

    def build(self, context: LossContext) -> "MultiLabelAsymmetric":
        from orchestrator.losses.formulas.multi_label_asymmetric import MultiLabelAsymmetric

        return MultiLabelAsymmetric(
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            shift=self.shift,
            eps=self.eps,
            learn_bias=self.learn_bias,
        )
