"""Settings of open_clip's distillation: the CLIP loss, and the teacher's similarities as soft targets.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/clip_distillation.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import SimilaritySettings, require_teacher_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.clip_distillation import ClipDistillation


class ClipDistillationSettings(SimilaritySettings):
    """contrastive_weight * CLIP loss + distill_weight * 1/2 sum over directions of -sum p_T log p_S.

    The form of open_clip's DistillClipLoss, where p_T's entropy is not subtracted; `subtract_entropy` gives the KL,
    with the same gradient. `teacher_scale` multiplies the teacher's cosines: 100 is what CLIP learnt. An image's first
    text counts.
    """

    kind: Literal["clip_distillation"] = "clip_distillation"
    contrastive_weight: float = Field(
        default=1.0, ge=0, description="of the CLIP loss on the batch's own pairs; 0 leaves it out"
    )
    distill_weight: float = Field(
        default=1.0, ge=0, description="of the cross-entropy with the teacher's similarities; 0 leaves it out"
    )
    teacher_scale: float = Field(default=100.0, gt=0)
    subtract_entropy: bool = False

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.contrastive_weight == 0 and self.distill_weight == 0:
            raise ValueError("contrastive_weight and distill_weight are 0: remove the loss, or set its weight to 0")
        return self

    def build(self, context: LossContext) -> "ClipDistillation":
        from orchestrator.losses.formulas.clip_distillation import ClipDistillation

        self.require_student_space(self.kind, context)
        require_teacher_space(self.kind, context)
        return ClipDistillation(
            scale=self.logit_scale(),
            contrastive_weight=self.contrastive_weight,
            distill_weight=self.distill_weight,
            teacher_scales=(self.teacher_scale,),
            subtract_entropy=self.subtract_entropy,
            text_from=self.text,
            negatives=self.negatives,
        )
