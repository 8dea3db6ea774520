"""What a student is trained with: one settings file per loss, and the union of the settings.

Holds the union only; the formulas are in `formulas/`, `objective.py` composes them. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.losses.attention_transfer import AttentionTransferSettings
from orchestrator.losses.balanced_binary_cross_entropy import BalancedBinaryCrossEntropySettings
from orchestrator.losses.binary_cross_entropy import BinaryCrossEntropySettings
from orchestrator.losses.caption_contrastive import CaptionContrastiveSettings
from orchestrator.losses.clip_contrastive import ClipContrastiveSettings
from orchestrator.losses.clip_distillation import ClipDistillationSettings
from orchestrator.losses.clip_kd import ClipKdSettings
from orchestrator.losses.crd import CRDSettings
from orchestrator.losses.decoupled_kd import DecoupledKDSettings
from orchestrator.losses.dist import DistSettings
from orchestrator.losses.embedding_cross_entropy import EmbeddingCrossEntropySettings
from orchestrator.losses.embedding_mse import EmbeddingMSESettings
from orchestrator.losses.fitnet import FitNetSettings
from orchestrator.losses.gpaco import GPaCoSettings
from orchestrator.losses.hinton_kd import HintonKDSettings
from orchestrator.losses.image_contrastive import ImageContrastiveSettings
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.label_aware_smoothing import LabelAwareSmoothingSettings
from orchestrator.losses.lade import LadeSettings
from orchestrator.losses.ldam import LdamSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.mobileclip_dr import MobileclipDrSettings
from orchestrator.losses.multi_label_asymmetric import MultiLabelAsymmetricSettings
from orchestrator.losses.multitask_supcon import MultitaskSupConSettings
from orchestrator.losses.neighbourhood_kl import NeighbourhoodKLSettings
from orchestrator.losses.nst import NSTSettings
from orchestrator.losses.paco import PaCoSettings
from orchestrator.losses.pkt import PKTSettings
from orchestrator.losses.proco import ProCoSettings
from orchestrator.losses.relational_kd import RelationalKDSettings
from orchestrator.losses.relative_vector import RelativeVectorSettings
from orchestrator.losses.rise import RiseSettings
from orchestrator.losses.siglip import SiglipSettings
from orchestrator.losses.similarity_matching import SimilarityMatchingSettings
from orchestrator.losses.similarity_preserving import SimilarityPreservingSettings
from orchestrator.losses.supervised_contrastive import SupervisedContrastiveSettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings
from orchestrator.losses.text_hinge import TextHingeSettings
from orchestrator.losses.vl_proximity import VLProximitySettings

LossSettings = Annotated[
    AttentionTransferSettings
    | BalancedBinaryCrossEntropySettings
    | BinaryCrossEntropySettings
    | CRDSettings
    | CaptionContrastiveSettings
    | ClipContrastiveSettings
    | ClipDistillationSettings
    | ClipKdSettings
    | DecoupledKDSettings
    | DistSettings
    | EmbeddingCrossEntropySettings
    | EmbeddingMSESettings
    | FitNetSettings
    | GPaCoSettings
    | HintonKDSettings
    | ImageContrastiveSettings
    | ImageDistillationSettings
    | LabelAwareSmoothingSettings
    | LadeSettings
    | LdamSettings
    | LogitAdjustedCrossEntropySettings
    | MobileclipDrSettings
    | MultiLabelAsymmetricSettings
    | MultitaskSupConSettings
    | NSTSettings
    | NeighbourhoodKLSettings
    | PKTSettings
    | PaCoSettings
    | ProCoSettings
    | RelationalKDSettings
    | RelativeVectorSettings
    | RiseSettings
    | SiglipSettings
    | SimilarityMatchingSettings
    | SimilarityPreservingSettings
    | SupervisedContrastiveSettings
    | TextContrastiveSettings
    | TextHingeSettings
    | VLProximitySettings,
    Field(discriminator="kind"),
]

__all__ = [
    "AttentionTransferSettings",
    "BalancedBinaryCrossEntropySettings",
    "BinaryCrossEntropySettings",
    "CRDSettings",
    "CaptionContrastiveSettings",
    "ClipContrastiveSettings",
    "ClipDistillationSettings",
    "ClipKdSettings",
    "DecoupledKDSettings",
    "DistSettings",
    "EmbeddingCrossEntropySettings",
    "EmbeddingMSESettings",
    "FitNetSettings",
    "GPaCoSettings",
    "HintonKDSettings",
    "ImageContrastiveSettings",
    "ImageDistillationSettings",
    "LabelAwareSmoothingSettings",
    "LadeSettings",
    "LdamSettings",
    "LogitAdjustedCrossEntropySettings",
    "LossSettings",
    "MobileclipDrSettings",
    "MultiLabelAsymmetricSettings",
    "MultitaskSupConSettings",
    "NSTSettings",
    "NeighbourhoodKLSettings",
    "PKTSettings",
    "PaCoSettings",
    "ProCoSettings",
    "RelationalKDSettings",
    "RelativeVectorSettings",
    "RiseSettings",
    "SiglipSettings",
    "SimilarityMatchingSettings",
    "SimilarityPreservingSettings",
    "SupervisedContrastiveSettings",
    "TextContrastiveSettings",
    "TextHingeSettings",
    "VLProximitySettings",
]
