"""Settings of logit matching: the student's similarities within a batch follow the teacher's.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/similarity_matching.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import SimilaritySettings, require_teacher_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.similarity_matching import SimilarityMatching


class SimilarityMatchingSettings(SimilaritySettings):
    """T^2 / 2 [KL rows + KL columns], teacher || student, of softmaxed similarities at T; or their mean squared error.

    `pairs: image_text` compares images with texts (the first of each image). `image_image`, for a teacher without
    texts, compares the images among themselves, and leaves the diagonal out on both sides. `teacher_scale` multiplies
    the teacher's cosines (100 is what CLIP learnt); `distance: mse` is over the scaled similarities, so it is best with
    a `scale` near the teacher's. From the course report "Visual Model Distillation", which names the loss and prints
    no formula: this is the customary reading.
    """

    kind: Literal["similarity_matching"] = "similarity_matching"
    pairs: Literal["image_text", "image_image"] = "image_text"
    distance: Literal["kl", "mse"] = "kl"
    temperature: float = Field(default=1.0, gt=0)
    teacher_scale: float = Field(default=100.0, gt=0)

    def build(self, context: LossContext) -> "SimilarityMatching":
        from orchestrator.losses.formulas.similarity_matching import SimilarityMatching

        if self.pairs == "image_text":
            self.require_student_space(self.kind, context)
            require_teacher_space(self.kind, context)
        return SimilarityMatching(
            scale=self.logit_scale(),
            teacher_scale=self.teacher_scale,
            pairs=self.pairs,
            distance=self.distance,
            temperature=self.temperature,
            text_from=self.text,
            negatives=self.negatives,
        )
