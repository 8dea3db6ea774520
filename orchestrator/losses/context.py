"""What a loss is told when it is built: sizes, and the class counts of the whole training list.

Holds one dataclass. Reads and writes nothing. Knows nothing of tensors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossContext:
    """Sizes of one training run; a size is 0 when the run has no such input.

    Attributes:
        class_count: training images of each class, from the full training list.
        feature_dim: d, width of the student's pooled feature.
        text_dim: e, width of a text embedding.
        teacher_dim: D, width of a teacher image embedding (and of class texts in its space).
        num_texts: Q, texts of each image.
        num_classes: C.
        map_dim: c, channels of the student's map.
        embedding_dim: width of the student's embedding (D unless the student says otherwise).
        teacher_feature_dim, teacher_map_dim: d_t and c_t, width of the teacher's feature, channels of its map.
        num_images: of the training list, what `image_row` is below.
        batch_size: images that the losses see together: of all workers, in one micro-batch.
        num_views: V, views of an image in a batch.
        num_domains: K, domain texts of each class.
    """

    class_count: tuple[int, ...]
    feature_dim: int
    text_dim: int
    teacher_dim: int
    num_texts: int
    num_classes: int
    map_dim: int = 0
    embedding_dim: int = 0
    teacher_feature_dim: int = 0
    teacher_map_dim: int = 0
    num_images: int = 0
    batch_size: int = 0
    num_views: int = 1
    num_domains: int = 0

    def __post_init__(self) -> None:
        assert len(self.class_count) == self.num_classes, "class_count must have one number for each class"
