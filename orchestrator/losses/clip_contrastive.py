"""Settings of the CLIP loss: each image must pick its own text out of the batch, and each text its image.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/clip_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal

from orchestrator.losses.context import LossContext
from orchestrator.losses.similarity_settings import SimilaritySettings

if TYPE_CHECKING:
    from orchestrator.losses.formulas.clip_contrastive import ClipContrastive


class ClipContrastiveSettings(SimilaritySettings):
    """1/2 [CE rows + CE columns] of exp(s) * cosines, start 1/0.07, clamp 100 (Radford et al. 2021, figure 3).

    The first text of an image counts; paper and open_clip's ClipLoss agree. With `text: teacher` a student with images
    only is contrasted with the text teacher's embeddings.
    """

    kind: Literal["clip_contrastive"] = "clip_contrastive"

    def build(self, context: LossContext) -> "ClipContrastive":
        from orchestrator.losses.formulas.clip_contrastive import ClipContrastive

        self.require_student_space(self.kind, context)
        return ClipContrastive(scale=self.logit_scale(), text_from=self.text, negatives=self.negatives)
