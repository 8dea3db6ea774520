"""What a student is trained with: one settings file per loss, and the union of the settings.

Holds the union only; the formulas are in `formulas/`, `objective.py` composes them. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.losses.caption_contrastive import CaptionContrastiveSettings
from orchestrator.losses.embedding_cross_entropy import EmbeddingCrossEntropySettings
from orchestrator.losses.embedding_mse import EmbeddingMSESettings
from orchestrator.losses.image_contrastive import ImageContrastiveSettings
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.multi_label_asymmetric import MultiLabelAsymmetricSettings
from orchestrator.losses.neighbourhood_kl import NeighbourhoodKLSettings
from orchestrator.losses.relative_vector import RelativeVectorSettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings
from orchestrator.losses.text_hinge import TextHingeSettings
from orchestrator.losses.vl_proximity import VLProximitySettings

LossSettings = Annotated[
    CaptionContrastiveSettings
    | EmbeddingCrossEntropySettings
    | EmbeddingMSESettings
    | ImageContrastiveSettings
    | ImageDistillationSettings
    | LogitAdjustedCrossEntropySettings
    | MultiLabelAsymmetricSettings
    | NeighbourhoodKLSettings
    | RelativeVectorSettings
    | TextContrastiveSettings
    | TextHingeSettings
    | VLProximitySettings,
    Field(discriminator="kind"),
]

__all__ = [
    "CaptionContrastiveSettings",
    "EmbeddingCrossEntropySettings",
    "EmbeddingMSESettings",
    "ImageContrastiveSettings",
    "ImageDistillationSettings",
    "LogitAdjustedCrossEntropySettings",
    "LossSettings",
    "MultiLabelAsymmetricSettings",
    "NeighbourhoodKLSettings",
    "RelativeVectorSettings",
    "TextContrastiveSettings",
    "TextHingeSettings",
    "VLProximitySettings",
]
