"""Contrastive methods for long-tailed data: SupCon, ProCo, PaCo, GPaCo and their multi-task baseline."""

from orchestrator.frozen import Frozen
from orchestrator.losses.gpaco import GPaCoSettings
from orchestrator.losses.multitask_supcon import MultitaskSupConSettings
from orchestrator.losses.paco import PaCoSettings
from orchestrator.losses.proco import ProCoSettings
from orchestrator.losses.supervised_contrastive import SupervisedContrastiveSettings

VARIANTS: list[Frozen] = [
    SupervisedContrastiveSettings(views="extra", head_dim=9, temperature=0.3),
    SupervisedContrastiveSettings(negatives="per_worker", head_dim=9, head_depth=0),
    SupervisedContrastiveSettings(head_batch_norm=True, head_dim=9),
    ProCoSettings(head_batch_norm=False, head_dim=9),
    ProCoSettings(head_depth=0, head_dim=3, temperature=0.5, tau=0),
    PaCoSettings(head_batch_norm=False, head_dim=9, queue_size=16, smooth=0.1, gamma=0.7, base_temperature=0.07),
    PaCoSettings(head_dim=9, queue_size=0, negatives="per_worker", use_prior=False),
    GPaCoSettings(head_dim=9, queue_size=16, alpha=0.5, beta=2, gamma=0.7, supt=0.8, smooth=0.1, use_prior=False),
    GPaCoSettings(head_dim=9, queue_size=0, negatives="per_worker"),
    MultitaskSupConSettings(head_dim=9, queue_size=16, effective_weights="intended"),
    MultitaskSupConSettings(head_dim=9, queue_size=0, negatives="per_worker", head_depth=1),
]
