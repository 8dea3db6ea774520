"""Settings of MobileCLIP's reinforced training: an ensemble's similarities to real and synthetic captions.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/clip_distillation.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import SimilaritySettings, require_teacher_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.clip_distillation import ClipDistillation


class MobileclipDrSettings(SimilaritySettings):
    """contrastive_weight * CLIP + distill_weight * distillation, added over an image's texts (real, synthetic, ...).

    `teacher_dims` are the widths of the ensemble's members, whose embeddings stand side by side in the teacher's (none:
    one teacher). One of `teacher_scales` for all members is MobileCLIP's first version (100), one for each its second
    (70, 60). `average_after_softmax: false` takes the joined embedding as one vector. The weights are the scripts' for
    the 12M sets, 0 and 1; DataCompDR-1B has 0.25 and 0.75 (Vasu et al. 2024, section 3, and the official patches).
    Where the code's gathered branch transposes the images' averaged softmax for the texts, each direction has its own
    here, as in the code's single process. A text side that encodes the first text only trains on that one.
    """

    kind: Literal["mobileclip_dr"] = "mobileclip_dr"
    contrastive_weight: float = Field(
        default=0.0, ge=0, description="of the CLIP loss on the batch's own pairs; 0 leaves it out"
    )
    distill_weight: float = Field(
        default=1.0, ge=0, description="of the distillation from the teachers' similarities; 0 leaves it out"
    )
    teacher_dims: tuple[int, ...] = ()
    teacher_scales: tuple[float, ...] = (100.0,)
    average_after_softmax: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.contrastive_weight == 0 and self.distill_weight == 0:
            raise ValueError("contrastive_weight and distill_weight are 0: remove the loss, or set its weight to 0")
        if any(one <= 0 for one in (*self.teacher_dims, *self.teacher_scales)):
            raise ValueError("teacher_dims and teacher_scales must be above 0")
        members = max(len(self.teacher_dims), 1) if self.average_after_softmax else 1
        if len(self.teacher_scales) not in (1, members):
            raise ValueError(
                f"teacher_scales has {len(self.teacher_scales)} values; expected 1 for all members"
                + (f", or {members}, one for each" if members > 1 else "")
            )
        return self

    def build(self, context: LossContext) -> "ClipDistillation":
        from orchestrator.losses.formulas.clip_distillation import ClipDistillation

        self.require_student_space(self.kind, context)
        require_teacher_space(self.kind, context)
        if self.teacher_dims and context.teacher_dim not in (0, sum(self.teacher_dims)):
            raise ConfigError(
                f"mobileclip_dr.teacher_dims {list(self.teacher_dims)} sum to {sum(self.teacher_dims)}, but the"
                f" teacher's embedding has {context.teacher_dim} numbers",
                expected="the widths of the ensemble's members, in the order of their embeddings",
            )
        return ClipDistillation(
            scale=self.logit_scale(),
            contrastive_weight=self.contrastive_weight,
            distill_weight=self.distill_weight,
            teacher_scales=self.teacher_scales,
            teacher_dims=self.teacher_dims,
            average_after_softmax=self.average_after_softmax,
            all_texts=True,
            text_from=self.text,
            negatives=self.negatives,
        )
