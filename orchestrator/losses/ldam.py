"""Settings of LDAM: a margin that grows with the rarity of the class.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/ldam.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.class_counts import refuse_absent_classes
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.ldam import Ldam


class LdamSettings(Frozen):
    """CE of scale * logits, the true logit lowered by max_margin * n_y^(-1/4) / max_c n_c^(-1/4) (Cao et al. 2019).

    Meant for a cosine classifier, whose logits are in -1..1 before `scale`. Where mixup makes labels soft, each logit
    is lowered by its share of its margin; the paper has hard labels only.
    """

    kind: Literal["ldam"] = "ldam"
    weight: float = Field(default=1.0, ge=0)
    scale: float = Field(default=30.0, gt=0)
    max_margin: float = Field(
        default=0.5, ge=0, description="margin of the rarest class; a class's falls with n^(-1/4) of its images"
    )

    def build(self, context: LossContext) -> "Ldam":
        from orchestrator.losses.formulas.ldam import Ldam

        refuse_absent_classes(context, "no finite margin")
        return Ldam(context.class_count, scale=self.scale, max_margin=self.max_margin)
