"""Settings of L_cls of the OOD paper: the student's embedding is classified against the class texts.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/embedding_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.embedding_cross_entropy import EmbeddingCrossEntropy


class EmbeddingCrossEntropySettings(Frozen):
    """L_cls: CE(cosine to each class text / temperature, y) (Li et al., ICCV 2023; official code).

    The temperature is fixed, neither learnt nor clamped; paper and code agree. The texts are those of the training
    classes; at test time the same student is classified against any other label set. The official switch
    `only_proximal` is this loss left out beside `vl_proximity`.
    """

    kind: Literal["embedding_cross_entropy"] = "embedding_cross_entropy"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)

    def build(self, context: LossContext) -> "EmbeddingCrossEntropy":
        from orchestrator.losses.formulas.embedding_cross_entropy import EmbeddingCrossEntropy

        require_joint_space(self.kind, context)
        return EmbeddingCrossEntropy(temperature=self.temperature)
