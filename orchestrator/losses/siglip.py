"""Settings of SigLIP: every image-text pair of the batch is told apart on its own, by a sigmoid.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/clip_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import SimilaritySettings

if TYPE_CHECKING:
    from orchestrator.losses.formulas.clip_contrastive import SigLip


class SiglipSettings(SimilaritySettings):
    """Sum over pairs of softplus(-l (s cos + b)) / N, l = 1 for own pairs, else -1 (Zhai et al. 2023, algorithm 1).

    Starts at scale 10 and bias -10 as the paper does; both are learnt, or fixed with `learnable_scale: false`. Paper
    and open_clip agree. A batch of one image keeps its own pair's term, for pairs do not depend on one another.
    """

    kind: Literal["siglip"] = "siglip"
    scale: float = Field(default=10.0, gt=0)
    bias: float = Field(
        default=-10.0, description="added to the scaled cosines of all pairs; the start of a learnt one"
    )

    def build(self, context: LossContext) -> "SigLip":
        from orchestrator.losses.formulas.clip_contrastive import SigLip

        self.require_student_space(self.kind, context)
        return SigLip(scale=self.logit_scale(), bias=self.bias, text_from=self.text, negatives=self.negatives)
