"""The losses on image-text similarities: CLIP, SigLIP, their distillation, CLIP-KD, similarity matching."""

from orchestrator.frozen import Frozen
from orchestrator.losses.clip_contrastive import ClipContrastiveSettings
from orchestrator.losses.clip_distillation import ClipDistillationSettings
from orchestrator.losses.clip_kd import ClipKdSettings
from orchestrator.losses.mobileclip_dr import MobileclipDrSettings
from orchestrator.losses.siglip import SiglipSettings
from orchestrator.losses.similarity_matching import SimilarityMatchingSettings

NO_PARTS = {"contrastive_weight": 0, "fd_weight": 0, "crd_weight": 0, "icl_weight": 0}

VARIANTS: list[Frozen] = [
    ClipContrastiveSettings(text="teacher"),
    ClipContrastiveSettings(learnable_scale=False, negatives="per_worker"),
    SiglipSettings(text="teacher", learnable_scale=False),
    ClipDistillationSettings(subtract_entropy=True, contrastive_weight=0),
    ClipDistillationSettings(text="teacher", teacher_scale=20, negatives="per_worker"),
    MobileclipDrSettings(text="teacher", contrastive_weight=0.25, distill_weight=0.75),
    MobileclipDrSettings(teacher_dims=(3, 4), teacher_scales=(70, 60)),
    MobileclipDrSettings(text="teacher", teacher_dims=(3, 4), average_after_softmax=False),
    ClipKdSettings(fd_weight=3, cross_kd_weight=2, gd_weight=5, afd_weight=1),
    ClipKdSettings(cross_kd_weight=1, gd_weight=1e4, afd_weight=1, scale_without_exp=True, inverse_gd_scale=True),
    ClipKdSettings(**{**NO_PARTS, "fd_weight": 1}),
    ClipKdSettings(**{**NO_PARTS, "crd_weight": 1}, learnable_scale=False, negatives="per_worker"),
    SimilarityMatchingSettings(temperature=2, text="teacher"),
    SimilarityMatchingSettings(distance="mse", teacher_scale=20),
    SimilarityMatchingSettings(pairs="image_image", teacher_scale=10),
    SimilarityMatchingSettings(pairs="image_image", distance="mse", negatives="per_worker"),
]
