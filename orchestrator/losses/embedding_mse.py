"""Settings of L_mse of the OOD paper: the student's embedding is pulled to the teacher's.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/embedding_mse.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.embedding_mse import EmbeddingMSE


class EmbeddingMSESettings(Frozen):
    """L_mse: squared distance of the student's and the teacher's embedding (Li et al., ICCV 2023; official code).

    `form: unit` is the mean over images of the squared distance of unit vectors, in 0..4; `raw_log` the code's other
    version, log(1 + mean squared distance / 10) of raw vectors (in the code it replaces the first where both are on).
    The teacher's embeddings are kept at unit length; `raw_log` brings all of them to `teacher_length`, whereas the code
    compares with the lengths that CLIP gives, which differ from image to image.
    """

    kind: Literal["embedding_mse"] = "embedding_mse"
    weight: float = Field(default=1.0, ge=0)
    form: Literal["unit", "raw_log"] = "unit"
    teacher_length: float = Field(default=1.0, gt=0)

    def build(self, context: LossContext) -> "EmbeddingMSE":
        from orchestrator.losses.formulas.embedding_mse import EmbeddingMSE

        require_joint_space(self.kind, context)
        return EmbeddingMSE(form=self.form, teacher_length=self.teacher_length)
