"""Settings of contrastive representation distillation.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/crd.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.crd import ContrastiveRepresentationDistillation


class CRDSettings(Frozen):
    """NCE of projected features against memories of all training images' features, both ways: Tian et al. 2020 (CRD).

    `num_negatives` images are drawn for each row and step, uniformly with replacement from all others: a pure function
    of `seed`, the step and the image. The authors' code can also draw from other classes only; this one does not.
    `momentum` is what a memorised vector keeps of itself. Two memories [images, dim] float32 are part of a checkpoint.
    """

    kind: Literal["crd"] = "crd"
    weight: float = Field(default=0.8, ge=0)
    dim: int = Field(default=128, ge=1, description="width of the projections and of the memories")
    num_negatives: int = Field(default=16384, ge=1)
    temperature: float = Field(default=0.07, ge=0.02)  # exp(1 / T) is then far inside float32
    momentum: float = Field(default=0.5, ge=0, lt=1)
    epsilon: float = Field(default=1e-7, ge=0, description="added to denominators against division by zero")
    seed: int = Field(default=0, ge=0, lt=2**31)

    def build(self, context: LossContext) -> "ContrastiveRepresentationDistillation":
        from orchestrator.losses.formulas.crd import ContrastiveRepresentationDistillation

        student_dim, teacher_dim = dims_of_pair(self.kind, "feature", context)
        if context.num_images < 2:
            raise ConfigError(
                f"crd draws negatives from the other training images, and there are {context.num_images} images",
                expected="2 or more training images",
            )
        return ContrastiveRepresentationDistillation(
            student_dim=student_dim,
            teacher_dim=teacher_dim,
            num_images=context.num_images,
            dim=self.dim,
            num_negatives=self.num_negatives,
            temperature=self.temperature,
            momentum=self.momentum,
            epsilon=self.epsilon,
            seed=self.seed,
        )
