"""Settings of the binary cross-entropy over classes, plain or class-balanced.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/binary_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.class_counts import refuse_absent_classes
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.binary_cross_entropy import BinaryCrossEntropy


class BinaryCrossEntropySettings(Frozen):
    """BCE of each class against the rest, summed over the classes, without a prior (LiVT's BCE and CB-BCE).

    `class_balance_beta` (LiVT: 0.9999) weighs the classes by their effective numbers of images (Cui et al. 2019).
    `target_threshold` makes every target above it 1 and the others 0, after smoothing and mixing. Mixed targets are
    smoothed like labels. With the prior it is balanced_binary_cross_entropy.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    weight: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    target_threshold: float | None = Field(default=None, ge=0, lt=1)
    class_balance_beta: float | None = Field(default=None, ge=0, lt=1)

    def build(self, context: LossContext) -> "BinaryCrossEntropy":
        from orchestrator.losses.formulas.binary_cross_entropy import BinaryCrossEntropy

        if self.class_balance_beta is not None:
            refuse_absent_classes(context, "no class-balanced weight", "set class_balance_beta: null of this loss")
        return BinaryCrossEntropy(
            context.class_count,
            label_smoothing=self.label_smoothing,
            target_threshold=self.target_threshold,
            class_balance_beta=self.class_balance_beta,
        )
