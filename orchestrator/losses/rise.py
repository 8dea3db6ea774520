"""Settings of RISE: distillation from CLIP with the texts of the classes as anchors.

Holds the settings of one kind. Reads and writes nothing; the formulas are in formulas/rise.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.rise import Rise


class RiseSettings(Frozen):
    """kl_weight * L_KD + ce_weight * L_CE + distance_weight * (L_AD + L_RD) (Huang et al. 2023, official code).

    L_KD: T^2 * KL of the teacher's zero-shot classes, `logit_scale` * cosine, and the student's, at `temperature`.
    L_AD: cosine distance of the student's embedding to the text of its class. L_RD: `relative_factor` * squared
    difference of the softmax cosines to the class's domain texts, of embedding and class text; the paper speaks of
    images in domains, the code of texts only, and so do we. `relative_factor: 0` is the official mixed-teacher script,
    `ce_weight: 0` leaves L_CE to the benchmark's own loss, as under VLM-KD. A part of weight 0 needs no input.
    Official grid: (kl_weight, ce_weight) from (0.9, 0.1) to (0.1, 0.9), distance_weight 0.5, 1 or 2.
    """

    kind: Literal["rise"] = "rise"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=3.0, gt=0)
    logit_scale: float = Field(default=100.0, gt=0)
    kl_weight: float = Field(
        default=0.9, ge=0, description="of L_KD, the KL from the teacher's zero-shot classes; 0 leaves it out"
    )
    ce_weight: float = Field(default=0.1, ge=0)
    distance_weight: float = Field(
        default=1.0, ge=0, description="of L_AD + L_RD, the distances to texts; 0 leaves them out"
    )
    relative_factor: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.kl_weight == self.ce_weight == self.distance_weight == 0:
            raise ValueError("kl_weight, ce_weight and distance_weight are all 0: remove the loss, or set its weight")
        return self

    def build(self, context: LossContext) -> "Rise":
        from orchestrator.losses.formulas.rise import Rise

        if self.distance_weight > 0 and context.embedding_dim != context.teacher_dim:
            raise ConfigError(
                f"rise compares student embeddings of width {context.embedding_dim} with class texts of width"
                f" {context.teacher_dim}",
                expected="a student whose embedding is as wide as the image teacher's",
                remedy="set student.embedding, or distance_weight: 0",
            )
        if self.distance_weight > 0 and self.relative_factor > 0 and context.num_domains == 1:
            raise ConfigError(
                "rise has one domain text for each class, of which the relative distance is always 0",
                expected="at least two domain texts for each class",
                remedy="add domain texts, or set relative_factor: 0",
            )
        return Rise(
            temperature=self.temperature,
            logit_scale=self.logit_scale,
            kl_weight=self.kl_weight,
            ce_weight=self.ce_weight,
            distance_weight=self.distance_weight,
            relative_factor=self.relative_factor,
        )
