"""Peer distillation losses: KD, DKD, DIST, attention transfer, SP, RKD, PKT, NST, CRD, FitNet."""

from orchestrator.frozen import Frozen
from orchestrator.losses.attention_transfer import AttentionTransferSettings
from orchestrator.losses.crd import CRDSettings
from orchestrator.losses.decoupled_kd import DecoupledKDSettings
from orchestrator.losses.dist import DistSettings
from orchestrator.losses.fitnet import FitNetSettings
from orchestrator.losses.hinton_kd import HintonKDSettings
from orchestrator.losses.pkt import PKTSettings
from orchestrator.losses.relational_kd import RelationalKDSettings
from orchestrator.losses.similarity_preserving import SimilarityPreservingSettings

VARIANTS: list[Frozen] = [
    HintonKDSettings(temperature=1, square_temperature=False),
    HintonKDSettings(standardise=True, hard_label_weight=0.1, teacher_weight=9),
    HintonKDSettings(hard_label_weight=0.3),
    DecoupledKDSettings(temperature=2, target_weight=0, non_target_weight=2),
    DistSettings(temperature=2, inter_weight=0, intra_weight=2),
    DistSettings(negatives="per_worker"),
    AttentionTransferSettings(form="paper", power=3),
    AttentionTransferSettings(power=3, signed=True),
    SimilarityPreservingSettings(output="map", row_norm="l1"),
    SimilarityPreservingSettings(negatives="per_worker"),
    RelationalKDSettings(output="map", distance_weight=1, angle_weight=2),
    RelationalKDSettings(angle_weight=0),
    RelationalKDSettings(distance_weight=0, negatives="per_worker"),
    PKTSettings(output="map"),
    PKTSettings(negatives="per_worker"),
    CRDSettings(dim=3, num_negatives=2, momentum=0.9, seed=5),
    FitNetSettings(output="feature"),
    FitNetSettings(kernel_size=3),
]
