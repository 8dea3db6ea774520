"""Settings of L_text: the student's text prediction must pick its own image's texts out of the batch.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/text_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.text_contrastive import TextContrastive

SMALLEST_LEARNABLE_TEMPERATURE = 0.01  # the learnt scale 1/temperature is clamped to at most 100


class TextContrastiveSettings(Frozen):
    """L_text of VLM-KD (Eq. 2) summed over the texts of an image ("Shared": one adaptor for all).

    `temperature` is the start value when `learnable`. `symmetric` takes the mean of both directions instead of image to
    text only. `merge_duplicates` shares the target equally among identical texts instead of calling them negatives.
    `negatives` are those of all workers, or of the worker's own batch (as the official codes do).
    """

    kind: Literal["text_contrastive"] = "text_contrastive"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)
    learnable: bool = True
    symmetric: bool = False
    merge_duplicates: bool = False
    reduction: Literal["mean", "sum"] = "mean"
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _start_is_inside_the_clamp(self) -> Self:
        if self.learnable and self.temperature < SMALLEST_LEARNABLE_TEMPERATURE:
            raise ValueError(
                f"temperature {self.temperature} is below {SMALLEST_LEARNABLE_TEMPERATURE}, to which a learnable one is"
                " clamped; raise it or set learnable: false"
            )
        return self

    def build(self, context: LossContext) -> "TextContrastive":
        from orchestrator.losses.formulas.text_contrastive import TextContrastive

        return TextContrastive(
            temperature=self.temperature,
            smallest_temperature=SMALLEST_LEARNABLE_TEMPERATURE,
            learnable=self.learnable,
            symmetric=self.symmetric,
            merge_duplicates=self.merge_duplicates,
            reduction=self.reduction,
            negatives=self.negatives,
        )
