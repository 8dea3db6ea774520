"""Settings of attention transfer.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/attention_transfer.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.attention_transfer import AttentionTransfer, AttentionTransferOfPooled

WIDTHS = {"teacher_feature": "teacher_feature_dim", "teacher_image": "teacher_dim"}
REMEDY = {"teacher_feature": "image_teacher.outputs: [embedding, feature]", "teacher_image": "image_teacher"}


class AttentionTransferSettings(Frozen):
    """Distance of the unit maps mean |F|^power of student and teacher: Zagoruyko and Komodakis 2017.

    `form: code` is the mean square over images and positions, which their code and mdistiller (weight 1000) compute;
    `paper` the mean over images of the distance itself. The larger map is average-pooled to the smaller. `signed`
    raises F itself to a whole power, as mdistiller does: another loss for odd powers.

    `pooled` is for where there are no maps ("Visual Model Distillation"; methods 6.3): the student's feature and that
    pooled vector of the teacher, of equal width, as unit vectors of their |f|^power.
    """

    kind: Literal["attention_transfer"] = "attention_transfer"
    weight: float = Field(default=1000.0, ge=0)
    power: float = Field(
        default=2.0, ge=1, le=8, description="of the activations before they are averaged over channels"
    )
    signed: bool = False
    form: Literal["code", "paper"] = "code"
    pooled: Literal["teacher_feature", "teacher_image"] | None = None

    @model_validator(mode="after")
    def _signed_powers_are_whole(self) -> Self:
        if self.signed and (self.pooled is not None or self.power != int(self.power)):
            raise ValueError("signed is for maps and whole powers: a negative number has no other")
        return self

    def build(self, context: LossContext) -> "AttentionTransfer | AttentionTransferOfPooled":
        from orchestrator.losses.formulas.attention_transfer import AttentionTransfer, AttentionTransferOfPooled

        if self.pooled is None:
            dims_of_pair(self.kind, "map", context)
            return AttentionTransfer(power=self.power, signed=self.signed, form=self.form)
        student, teacher = context.feature_dim, getattr(context, WIDTHS[self.pooled])
        if not teacher or student != teacher:
            raise ConfigError(
                f"{self.kind} compares the student's feature (width {student}, 0: none) with {self.pooled} "
                f"(width {teacher}), number by number",
                expected="two vectors of one width",
                remedy=f"set {REMEDY[self.pooled]}, and student.image_input: {self.pooled} of an attention or cbam "
                "student; or compare maps (pooled: null)",
            )
        return AttentionTransferOfPooled(self.pooled, power=self.power, form=self.form)
