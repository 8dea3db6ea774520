"""Settings of the logit-adjusted cross-entropy; with `tau: 0` the plain one.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/logit_adjusted_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy


class LogitAdjustedCrossEntropySettings(Frozen):
    """CE(z + tau * log prior, y): Menon et al. 2021; VLM-KD, Eq. 1. At test time the raw logits z are used.

    `prior_floor` is the prior given to classes without a training image (PaCo: 1e-9); without it they are an error.
    """

    kind: Literal["logit_adjusted_cross_entropy"] = "logit_adjusted_cross_entropy"
    weight: float = Field(default=1.0, ge=0)
    tau: float = Field(default=1.0, ge=0)
    prior_floor: float | None = Field(default=None, gt=0, lt=1)

    def build(self, context: LossContext) -> "LogitAdjustedCrossEntropy":
        from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy

        absent = [label for label, count in enumerate(context.class_count) if count == 0]
        if absent and self.tau > 0 and self.prior_floor is None:
            raise ConfigError(
                f"{len(absent)} classes have no training image, so no log prior (labels {absent[:10]})",
                expected="at least one training image for each class",
                remedy="remove the classes, or set prior_floor: 1e-9 of this loss",
            )
        return LogitAdjustedCrossEntropy(context.class_count, tau=self.tau, prior_floor=self.prior_floor)
