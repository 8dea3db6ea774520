"""Settings of Bal-BCE: the binary cross-entropy over classes, with the log odds of the class prior.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/binary_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.class_counts import refuse_absent_classes
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.binary_cross_entropy import BinaryCrossEntropy


class BalancedBinaryCrossEntropySettings(Frozen):
    """BCE(sigmoid(z + tau * (log prior - log(1 - prior))), t) summed over the classes: LiVT's loss for ViTs.

    At test time the raw logits z are used. `target_threshold` makes every target above it 1 and the others 0, after
    smoothing and mixing; mixed targets are smoothed like labels (LiVT: 0.1, iNaturalist 0). `prior_floor` is the prior
    of classes without a training image, which otherwise are an error. Without the prior it is binary_cross_entropy.
    """

    kind: Literal["balanced_binary_cross_entropy"] = "balanced_binary_cross_entropy"
    weight: float = Field(default=1.0, ge=0)
    tau: float = Field(default=1.0, gt=0, description="strength of the prior that is added to the logits")
    prior_floor: float | None = Field(default=None, gt=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    target_threshold: float | None = Field(default=None, ge=0, lt=1)

    def build(self, context: LossContext) -> "BinaryCrossEntropy":
        from orchestrator.losses.formulas.binary_cross_entropy import BinaryCrossEntropy

        if sum(count > 0 for count in context.class_count) < 2:
            raise ConfigError(
                "all training images are of one class, whose prior of 1 has no log odds",
                expected="images of at least two classes",
                remedy="use binary_cross_entropy",
            )
        if self.prior_floor is None:
            refuse_absent_classes(context, "no log odds", "set prior_floor: 1e-9 of this loss")
        return BinaryCrossEntropy(
            context.class_count,
            tau=self.tau,
            prior_floor=self.prior_floor,
            label_smoothing=self.label_smoothing,
            target_threshold=self.target_threshold,
        )
