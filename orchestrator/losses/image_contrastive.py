"""Settings of L_im-cst of the OOD paper: a student's image must pick its own teacher's image out of the batch.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/image_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.image_contrastive import ImageContrastive

SMALLEST_LEARNABLE_TEMPERATURE = 0.01


class ImageContrastiveSettings(Frozen):
    """L_im-cst: InfoNCE between student and teacher images of a batch (Li et al., ICCV 2023).

    The defaults are the official code's: cosines over 0.07, both directions. The paper's formula is `mode: single,
    form: sq_l2` (minus the squared distance over the temperature, which is the cosine over half of it). `negatives:
    per_worker` are those of the code; the same image's pair is never a negative of itself.

    Of the code's deleted research script: `mask_same_class` (other images of the class are no negatives), `learnable`
    (the temperature is exp(theta) from `temperature` on, held at 0.01 or above after each step), `mode: kl` (both
    directions, and `kl_weight` times the row and column KL from the teacher's own similarities over its `kl_nearest`
    images; the temperature divides both sides, and no entry of the KL is masked).
    """

    kind: Literal["image_contrastive"] = "image_contrastive"
    weight: float = Field(default=1.0, ge=0)
    mode: Literal["single", "bidirectional", "kl"] = "bidirectional"
    form: Literal["cosine", "sq_l2"] = Field(
        default="cosine", description="what is divided by the temperature: the cosine, or minus the squared distance"
    )
    temperature: float = Field(default=0.07, gt=0)
    learnable: bool = False
    mask_same_class: bool = False
    kl_weight: float = Field(default=2.5, ge=0)
    kl_nearest: int = Field(default=10, ge=1)
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _start_is_inside_the_clamp(self) -> Self:
        if self.learnable and self.temperature < SMALLEST_LEARNABLE_TEMPERATURE:
            raise ValueError(
                f"temperature {self.temperature} is below {SMALLEST_LEARNABLE_TEMPERATURE}, to which a learnable one is"
                " clamped; raise it or set learnable: false"
            )
        return self

    def build(self, context: LossContext) -> "ImageContrastive":
        from orchestrator.losses.formulas.image_contrastive import ImageContrastive

        require_joint_space(self.kind, context)
        return ImageContrastive(
            mode=self.mode,
            form=self.form,
            temperature=self.temperature,
            smallest_temperature=SMALLEST_LEARNABLE_TEMPERATURE,
            learnable=self.learnable,
            mask_same_class=self.mask_same_class,
            kl_weight=self.kl_weight,
            kl_nearest=self.kl_nearest,
            negatives=self.negatives,
        )
