"""What a student is trained with: one settings file per loss, and the union of the settings.

Holds the union only; the formulas are in `formulas/`, `objective.py` composes them. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings

LossSettings = Annotated[
    LogitAdjustedCrossEntropySettings | TextContrastiveSettings | ImageDistillationSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "ImageDistillationSettings",
    "LogitAdjustedCrossEntropySettings",
    "LossSettings",
    "TextContrastiveSettings",
]
