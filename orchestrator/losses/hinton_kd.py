"""Settings of knowledge distillation: the student follows the teacher's softened class distribution.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/hinton_kd.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.hinton_kd import HintonKD


class HintonKDSettings(Frozen):
    """T^2 * KL(teacher_T || student_T), mean over the batch: Hinton et al. 2015.

    Usual beside a cross-entropy of weight 0.1 with weight 0.9 here (mdistiller). `square_temperature: false` leaves T^2
    out, as torchdistill's loss does without hard labels. `standardise` is logit standardisation (Sun et al. 2024): rows
    of logits at mean 0 and deviation 1 first. `hard_label_weight` above 0 adds so much cross-entropy on the raw logits
    and makes `teacher_weight` (null: 1 - hard_label_weight) the factor of the divergence: torchdistill's alpha, beta.
    """

    kind: Literal["hinton_kd"] = "hinton_kd"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=4.0, gt=0)
    square_temperature: bool = True
    standardise: bool = False
    hard_label_weight: float = Field(default=0.0, ge=0)
    teacher_weight: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _the_teacher_has_a_part(self) -> Self:
        if self.teacher_weight is None and self.hard_label_weight >= 1:
            raise ValueError("hard_label_weight of 1 or more leaves the teacher nothing: set teacher_weight too")
        return self

    def build(self, context: LossContext) -> "HintonKD":
        from orchestrator.losses.formulas.hinton_kd import HintonKD

        return HintonKD(
            temperature=self.temperature,
            square_temperature=self.square_temperature,
            standardise=self.standardise,
            hard_label_weight=self.hard_label_weight,
            teacher_weight=self.teacher_weight,
        )
