"""VLM-KD: logit-adjusted cross-entropy, L_text, KD-I."""

from orchestrator.frozen import Frozen
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings

VARIANTS: list[Frozen] = [
    LogitAdjustedCrossEntropySettings(tau=0.5),
    TextContrastiveSettings(symmetric=True, merge_duplicates=True),
    TextContrastiveSettings(reduction="sum", learnable=False),
    TextContrastiveSettings(symmetric=True, negatives="per_worker"),
    ImageDistillationSettings(direction="student_to_teacher", raw=True, mean_dims=True),
    ImageDistillationSettings(feature_weight=0),
    ImageDistillationSettings(tau=0.5),
    ImageDistillationSettings(logit_weight=0),
]
