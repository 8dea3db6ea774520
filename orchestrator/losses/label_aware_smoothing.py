"""Settings of label-aware smoothing (MiSLAS): label smoothing that grows with the frequency of the class.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/label_aware_smoothing.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.label_aware_smoothing import LabelAwareSmoothing


class LabelAwareSmoothingSettings(Frozen):
    """Cross-entropy whose smoothing goes from `tail` (rarest class) to `head` (most frequent) (Zhong et al. 2021).

    `shape` says how it grows with the count in between. The loss of a mixed target is the mean over its classes.
    """

    kind: Literal["label_aware_smoothing"] = "label_aware_smoothing"
    weight: float = Field(default=1.0, ge=0)
    shape: Literal["concave", "linear", "convex"] = "concave"
    head: float = Field(default=0.3, ge=0, lt=1, description="smoothing of the most frequent class")
    tail: float = Field(default=0.0, ge=0, lt=1, description="smoothing of the rarest class")

    @model_validator(mode="after")
    def _grows_with_the_count(self) -> Self:
        if self.tail > self.head:
            raise ValueError(f"tail {self.tail} is above head {self.head}; smoothing grows with the count of images")
        return self

    def build(self, context: LossContext) -> "LabelAwareSmoothing":
        from orchestrator.losses.formulas.label_aware_smoothing import LabelAwareSmoothing

        return LabelAwareSmoothing(context.class_count, shape=self.shape, head=self.head, tail=self.tail)
