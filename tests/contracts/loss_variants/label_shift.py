"""LiVT and the label-shift family; RISE."""

from orchestrator.frozen import Frozen
from orchestrator.losses.balanced_binary_cross_entropy import BalancedBinaryCrossEntropySettings
from orchestrator.losses.binary_cross_entropy import BinaryCrossEntropySettings
from orchestrator.losses.label_aware_smoothing import LabelAwareSmoothingSettings
from orchestrator.losses.lade import LadeSettings
from orchestrator.losses.ldam import LdamSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.rise import RiseSettings

VARIANTS: list[Frozen] = [
    BalancedBinaryCrossEntropySettings(label_smoothing=0.1, tau=0.5),
    BalancedBinaryCrossEntropySettings(label_smoothing=0.1, target_threshold=0.2),
    BinaryCrossEntropySettings(label_smoothing=0.1, class_balance_beta=0.9999),
    LabelAwareSmoothingSettings(shape="linear", tail=0.05),
    LabelAwareSmoothingSettings(shape="convex"),
    LadeSettings(remine_lambda=0.0, negatives="per_worker"),
    LdamSettings(scale=1.0, max_margin=2.0),
    LogitAdjustedCrossEntropySettings(tau=0.0, label_smoothing=0.1),
    LogitAdjustedCrossEntropySettings(tau=0.0, class_balance_beta=0.9999),
    LogitAdjustedCrossEntropySettings(label_smoothing=0.2, class_balance_beta=0.9),
    RiseSettings(ce_weight=0.0),
    RiseSettings(relative_factor=0.0, distance_weight=2.0),
    RiseSettings(distance_weight=0.0),
    RiseSettings(kl_weight=0.0, ce_weight=0.0),
]
