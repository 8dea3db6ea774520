"""What a student is trained with: one settings file per loss, and the union of the settings.

Holds the union only; the formulas are in `formulas/`, `objective.py` composes them. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.losses.balanced_binary_cross_entropy import BalancedBinaryCrossEntropySettings
from orchestrator.losses.binary_cross_entropy import BinaryCrossEntropySettings
from orchestrator.losses.caption_contrastive import CaptionContrastiveSettings
from orchestrator.losses.embedding_cross_entropy import EmbeddingCrossEntropySettings
from orchestrator.losses.embedding_mse import EmbeddingMSESettings
from orchestrator.losses.image_contrastive import ImageContrastiveSettings
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.label_aware_smoothing import LabelAwareSmoothingSettings
from orchestrator.losses.lade import LadeSettings
from orchestrator.losses.ldam import LdamSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.multi_label_asymmetric import MultiLabelAsymmetricSettings
from orchestrator.losses.neighbourhood_kl import NeighbourhoodKLSettings
from orchestrator.losses.relative_vector import RelativeVectorSettings
from orchestrator.losses.rise import RiseSettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings
from orchestrator.losses.text_hinge import TextHingeSettings
from orchestrator.losses.vl_proximity import VLProximitySettings

LossSettings = Annotated[
    BalancedBinaryCrossEntropySettings
    | BinaryCrossEntropySettings
    | CaptionContrastiveSettings
    | EmbeddingCrossEntropySettings
    | EmbeddingMSESettings
    | ImageContrastiveSettings
    | ImageDistillationSettings
    | LabelAwareSmoothingSettings
    | LadeSettings
    | LdamSettings
    | LogitAdjustedCrossEntropySettings
    | MultiLabelAsymmetricSettings
    | NeighbourhoodKLSettings
    | RelativeVectorSettings
    | RiseSettings
    | TextContrastiveSettings
    | TextHingeSettings
    | VLProximitySettings,
    Field(discriminator="kind"),
]

__all__ = [
    "BalancedBinaryCrossEntropySettings",
    "BinaryCrossEntropySettings",
    "CaptionContrastiveSettings",
    "EmbeddingCrossEntropySettings",
    "EmbeddingMSESettings",
    "ImageContrastiveSettings",
    "ImageDistillationSettings",
    "LabelAwareSmoothingSettings",
    "LadeSettings",
    "LdamSettings",
    "LogitAdjustedCrossEntropySettings",
    "LossSettings",
    "MultiLabelAsymmetricSettings",
    "NeighbourhoodKLSettings",
    "RelativeVectorSettings",
    "RiseSettings",
    "TextContrastiveSettings",
    "TextHingeSettings",
    "VLProximitySettings",
]
