"""Settings of CLIP-KD: a student with two towers follows a teacher with two towers, in up to six ways at once.

Holds the settings of one kind. Reads and writes nothing; the formulas are in formulas/clip_kd.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import LARGEST_SCALE, require_teacher_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.clip_kd import ClipKd


class ClipKdSettings(Frozen):
    """The CLIP loss and weighted parts of CLIP-KD (Yang et al. 2024); the defaults are its best, FD + CRD + ICL.

    fd: MSE of unit embeddings, image and text. crd: KL of similarities ("ckd" in the code). icl: the student's images
    against the teacher's texts, and the reverse, contrasted. cross_kd: KL on those. gd: MSE of the CLIP loss'
    gradients. afd: student and teacher fused by a linear map, contrasted. A part of weight 0 is left out. Where widths
    differ a Linear for each tower stands before fd, icl, cross_kd, gd and afd.

    The paper is followed; two switches give the official code: `scale_without_exp` multiplies the logits of icl,
    cross_kd and afd by the learnt number ln(1/0.07) = 2.66 itself; `inverse_gd_scale` divides by the scale in gd where
    the loss multiplies (the published weight, 1e8, belongs to that form). The code's afd fails where widths differ,
    this one does not.
    """

    kind: Literal["clip_kd"] = "clip_kd"
    weight: float = Field(default=1.0, ge=0)
    contrastive_weight: float = Field(default=1.0, ge=0, description="of the CLIP loss on labels; 0 leaves it out")
    fd_weight: float = Field(
        default=2000.0, ge=0, description="of fd, mean squared distance of unit embeddings, image and text"
    )
    crd_weight: float = Field(default=1.0, ge=0, description="of crd, KL of the similarities of student and teacher")
    icl_weight: float = Field(
        default=1.0, ge=0, description="of icl, the student's images against the teacher's texts, and the reverse"
    )
    cross_kd_weight: float = Field(default=0.0, ge=0, description="of cross_kd, KL on the similarities of icl")
    gd_weight: float = Field(default=0.0, ge=0, description="of gd, mean squared distance of the CLIP loss' gradients")
    afd_weight: float = Field(
        default=0.0, ge=0, description="of afd, student and teacher fused by a linear map and contrasted"
    )
    scale: float = Field(
        default=1 / 0.07,
        gt=0,
        le=LARGEST_SCALE,
        description="multiplies the student's cosines; the start of a learnt one",
    )
    learnable_scale: bool = Field(default=True, description="learn the scale with the student")
    teacher_scale: float = Field(
        default=100.0, gt=0, description="multiplies the teacher's cosines; 100 is what CLIP learnt"
    )
    scale_without_exp: bool = False
    inverse_gd_scale: bool = False
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        each = (self.contrastive_weight, self.fd_weight, self.crd_weight, self.icl_weight, self.cross_kd_weight)
        if not any((*each, self.gd_weight, self.afd_weight)):
            raise ValueError("the weights of all parts are 0: remove the loss, or set its weight to 0")
        return self

    def build(self, context: LossContext) -> "ClipKd":
        from orchestrator.losses.formulas.clip_kd import ClipKd

        require_teacher_space(self.kind, context)
        if context.embedding_dim == 0 or context.teacher_dim == 0:
            raise ConfigError(
                "clip_kd needs a student with an embedding and a text side, and a teacher with two towers",
                remedy="set student.embedding and image_teacher, or choose a two-tower student",
            )
        return ClipKd(
            weights={
                "contrastive": self.contrastive_weight,
                "fd": self.fd_weight,
                "crd": self.crd_weight,
                "icl": self.icl_weight,
                "cross_kd": self.cross_kd_weight,
                "gd": self.gd_weight,
                "afd": self.afd_weight,
            },
            embedding_dim=context.embedding_dim,
            teacher_dim=context.teacher_dim,
            scale=self.scale,
            learnable=self.learnable_scale,
            teacher_scale=self.teacher_scale,
            scale_without_exp=self.scale_without_exp,
            inverse_gd_scale=self.inverse_gd_scale,
            negatives=self.negatives,
        )
