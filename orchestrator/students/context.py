"""What a student is told when it is built: classes, and the sizes of what its teachers give.

Holds one dataclass. Reads and writes nothing. Knows nothing of tensors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class StudentContext:
    """Sizes of one training run; a size is 0 when the run has no such input.

    Attributes:
        num_classes: C, classes that a classifier tells apart.
        image_size: side of the student's images, pixels.
        teacher_dim: D, width of a teacher image embedding.
        teacher_feature_dim, teacher_map_dim: width of the teacher's feature, channels of its map.
        text_dim: e, width of a text embedding.
        num_texts: Q, texts of each image.
    """

    num_classes: int
    image_size: int = 64
    teacher_dim: int = 0
    teacher_feature_dim: int = 0
    teacher_map_dim: int = 0
    text_dim: int = 0
    num_texts: int = 0
