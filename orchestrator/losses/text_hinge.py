"""Settings of the hinge version of L_cls.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/embedding_cross_entropy.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.embedding_cross_entropy import TextHinge


class TextHingeSettings(Frozen):
    """Sum over classes of max(0, cosine to the class - cosine to the label + margin), mean over the batch.

    From the deleted research script of the OOD paper's code (Li et al., ICCV 2023). As there, the sum includes the
    label's own class, which adds the margin as a constant, without gradient. There is no temperature.
    """

    kind: Literal["text_hinge"] = "text_hinge"
    weight: float = Field(default=1.0, ge=0)
    margin: float = Field(default=0.2, ge=0, description="by which the label's cosine should lead every other class's")

    def build(self, context: LossContext) -> "TextHinge":
        from orchestrator.losses.formulas.embedding_cross_entropy import TextHinge

        require_joint_space(self.kind, context)
        return TextHinge(margin=self.margin)
