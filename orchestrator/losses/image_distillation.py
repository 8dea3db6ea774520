"""Settings of KD-I: the student follows an image teacher's class distribution and image embedding.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/image_distillation.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.class_counts import refuse_absent_classes
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.image_distillation import ImageDistillation


class ImageDistillationSettings(Frozen):
    """KD-I of VLM-KD (Eq. 4): logit_weight * KL + feature_weight * squared distance of a linear projection.

    A part of weight 0 is left out and needs no input. `direction` names the KL's first argument first: the paper prints
    student_to_teacher, its cited method is teacher_to_student. `teacher_temperature` divides the teacher's logits:
    it brings a teacher back to the scale it learnt (100, the encoders' default, is that of OpenAI's CLIP). `raw` does
    not normalise the two feature vectors; `mean_dims` takes the mean over dimensions instead of their sum.
    The student's logits are taken as they are; `tau` above 0 adds tau * log prior to them before the KL, as the
    logit-adjusted cross-entropy does. `prior_floor` is the prior of classes without a training image.
    """

    kind: Literal["image_distillation"] = "image_distillation"
    weight: float = Field(default=1.0, ge=0)
    logit_weight: float = Field(
        default=1.0,
        ge=0,
        description="of the KL between the class distributions of student and teacher; 0 leaves it out",
    )
    feature_weight: float = Field(
        default=1.0,
        ge=0,
        description="of the squared distance of the projected feature to the teacher's; 0 leaves it out",
    )
    teacher_temperature: float = Field(default=1.0, gt=0)
    direction: Literal["teacher_to_student", "student_to_teacher"] = "teacher_to_student"
    tau: float = Field(default=0.0, ge=0)
    prior_floor: float | None = Field(default=None, gt=0, lt=1)
    raw: bool = False
    mean_dims: bool = False

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.logit_weight == 0 and self.feature_weight == 0:
            raise ValueError("logit_weight and feature_weight are both 0: remove the loss, or set its weight to 0")
        if self.logit_weight == 0 and self.tau > 0:
            raise ValueError("tau shifts logits, and logit_weight is 0: set one of them")
        return self

    def build(self, context: LossContext) -> "ImageDistillation":
        from orchestrator.losses.formulas.image_distillation import ImageDistillation

        if self.feature_weight > 0 and context.teacher_dim == 0:
            raise ConfigError(
                "image_distillation has a feature term but the run has no teacher image embeddings",
                remedy="set an image teacher, or feature_weight: 0",
            )
        if self.tau > 0 and self.prior_floor is None:
            refuse_absent_classes(context, "no log prior", "set prior_floor: 1e-9 of this loss")
        return ImageDistillation(
            class_count=context.class_count,
            feature_dim=context.feature_dim,
            teacher_dim=context.teacher_dim,
            logit_weight=self.logit_weight,
            feature_weight=self.feature_weight,
            teacher_temperature=self.teacher_temperature,
            direction=self.direction,
            tau=self.tau,
            prior_floor=self.prior_floor,
            raw=self.raw,
            mean_dims=self.mean_dims,
        )
