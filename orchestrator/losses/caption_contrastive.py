"""Settings of L_cap of the OOD paper: the student's image must pick its own caption out of the batch.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/caption_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.caption_contrastive import CaptionContrastive


class CaptionContrastiveSettings(Frozen):
    """L_cap: CE of an image's cosines to the batch's captions, captions of other images of its class left out.

    Li et al., ICCV 2023, image to caption only. The paper divides the cosines by a temperature, the official code does
    not: the default 1.0 is the code, 0.07 the paper. An image has one caption there; with several texts `texts: first`
    takes the first and `all` sums the loss over them. An image without the text is dropped as row and as candidate; a
    batch of one class gives 0. `negatives: per_worker` are those of the code, which computes the term only beside
    L_cls.
    """

    kind: Literal["caption_contrastive"] = "caption_contrastive"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    texts: Literal["first", "all"] = "first"
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "CaptionContrastive":
        from orchestrator.losses.formulas.caption_contrastive import CaptionContrastive

        require_joint_space(self.kind, context, teacher=False, texts=True)
        return CaptionContrastive(temperature=self.temperature, texts=self.texts, negatives=self.negatives)
