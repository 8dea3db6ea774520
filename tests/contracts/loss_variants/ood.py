"""The OOD paper's losses and its research variants."""

from orchestrator.frozen import Frozen
from orchestrator.losses.caption_contrastive import CaptionContrastiveSettings
from orchestrator.losses.embedding_cross_entropy import EmbeddingCrossEntropySettings
from orchestrator.losses.embedding_mse import EmbeddingMSESettings
from orchestrator.losses.image_contrastive import ImageContrastiveSettings
from orchestrator.losses.multi_label_asymmetric import MultiLabelAsymmetricSettings
from orchestrator.losses.neighbourhood_kl import NeighbourhoodKLSettings
from orchestrator.losses.relative_vector import RelativeVectorSettings
from orchestrator.losses.text_hinge import TextHingeSettings
from orchestrator.losses.vl_proximity import VLProximitySettings

VARIANTS: list[Frozen] = [
    EmbeddingCrossEntropySettings(temperature=0.5),
    EmbeddingMSESettings(form="raw_log", teacher_length=9.0),
    ImageContrastiveSettings(mode="single", form="sq_l2", negatives="per_worker"),
    ImageContrastiveSettings(mode="kl", kl_nearest=3),
    ImageContrastiveSettings(mode="kl", kl_nearest=50, learnable=True, mask_same_class=True),
    ImageContrastiveSettings(learnable=True, mask_same_class=True),
    VLProximitySettings(filter="none", k=3),
    VLProximitySettings(filter="teacher_probability", min_probability=0.1, filter_temperature=0.2),
    VLProximitySettings(filter="batch_percentile", percentile=50),
    VLProximitySettings(filter="train_percentile", percentile=50, k=2),
    VLProximitySettings(filter="batch_percentile", percentile=50, negatives="per_worker"),
    VLProximitySettings(axis="images", filter="none", k=4),
    VLProximitySettings(axis="images", filter="batch_percentile", percentile=40, k=4),
    CaptionContrastiveSettings(texts="all", temperature=0.07),
    CaptionContrastiveSettings(negatives="per_worker"),
    MultiLabelAsymmetricSettings(gamma_pos=0, gamma_neg=4, learn_bias=False),
    NeighbourhoodKLSettings(k=3),
    RelativeVectorSettings(variant="norm_diff_rkd"),
    RelativeVectorSettings(variant="norm_diff_direction_ours"),
    RelativeVectorSettings(variant="relative_angle_direction"),
    TextHingeSettings(margin=0.5),
]
