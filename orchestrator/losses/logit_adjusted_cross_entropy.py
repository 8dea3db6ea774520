"""Settings of the cross-entropy with its options: logit adjustment, label smoothing, class-balanced weights.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/logit_adjusted_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.class_counts import refuse_absent_classes
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy


class LogitAdjustedCrossEntropySettings(Frozen):
    """CE(z + tau * log prior, y): Menon et al. 2021; VLM-KD, Eq. 1; Bal-CE of LiVT. At test time raw logits are used.

    `tau: 0` is the plain CE; with `label_smoothing` LS-CE, with `class_balance_beta` (LiVT: 0.9999) CB-CE, whose mean
    is weighted by the effective numbers of images (Cui et al. 2019). `prior_floor` is the prior given to classes
    without a training image (PaCo: 1e-9); without it they are an error. Mixed targets are smoothed like labels: LiVT's
    code leaves them as they are because its mixup has smoothed them before, which is the same.
    """

    kind: Literal["logit_adjusted_cross_entropy"] = "logit_adjusted_cross_entropy"
    weight: float = Field(default=1.0, ge=0)
    tau: float = Field(default=1.0, ge=0)
    prior_floor: float | None = Field(default=None, gt=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_balance_beta: float | None = Field(default=None, ge=0, lt=1)

    def build(self, context: LossContext) -> "LogitAdjustedCrossEntropy":
        from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy

        if self.class_balance_beta is not None:
            refuse_absent_classes(context, "no class-balanced weight", "set class_balance_beta: null of this loss")
        if self.tau > 0 and self.prior_floor is None:
            refuse_absent_classes(context, "no log prior", "set prior_floor: 1e-9 of this loss")
        return LogitAdjustedCrossEntropy(
            context.class_count,
            tau=self.tau,
            prior_floor=self.prior_floor,
            label_smoothing=self.label_smoothing,
            class_balance_beta=self.class_balance_beta,
        )
