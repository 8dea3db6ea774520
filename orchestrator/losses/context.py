"""What a loss is told when it is built: sizes, and the class counts of the whole training list.

Holds one dataclass. Reads and writes nothing. Knows nothing of tensors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossContext:
    """Sizes of one training run; a size is 0 when the run has no such input."""

    class_count: tuple[int, ...]  # training images of each class, from the full training list
    feature_dim: int  # d, width of the student's pooled feature
    text_dim: int  # e, width of a text embedding
    teacher_dim: int  # D, width of a teacher image embedding
    num_texts: int  # Q, texts of each image
    num_classes: int  # C

    def __post_init__(self) -> None:
        assert len(self.class_count) == self.num_classes, "class_count must have one number for each class"
