"""What a student is trained with: one settings file per loss, and the union of the settings.

Holds the union only; the formulas are in `formulas/`, `objective.py` composes them. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.losses.balanced_binary_cross_entropy import BalancedBinaryCrossEntropySettings
from orchestrator.losses.binary_cross_entropy import BinaryCrossEntropySettings
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.label_aware_smoothing import LabelAwareSmoothingSettings
from orchestrator.losses.lade import LadeSettings
from orchestrator.losses.ldam import LdamSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.rise import RiseSettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings

LossSettings = Annotated[
    BalancedBinaryCrossEntropySettings
    | BinaryCrossEntropySettings
    | ImageDistillationSettings
    | LabelAwareSmoothingSettings
    | LadeSettings
    | LdamSettings
    | LogitAdjustedCrossEntropySettings
    | RiseSettings
    | TextContrastiveSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "BalancedBinaryCrossEntropySettings",
    "BinaryCrossEntropySettings",
    "ImageDistillationSettings",
    "LabelAwareSmoothingSettings",
    "LadeSettings",
    "LdamSettings",
    "LogitAdjustedCrossEntropySettings",
    "LossSettings",
    "RiseSettings",
    "TextContrastiveSettings",
]
