"""What a student will be able to do, as its settings alone tell: so that what cannot be measured is refused at once.

Holds one dataclass. Reads and writes nothing. Knows nothing of tensors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    """Of a student that is not built yet.

    Attributes:
        reads: `image`, or the teacher's output that its image side reads.
        classifies: it has a classifier.
        embeds: it makes an embedding.
        embedding_dim: of it; None: the width of the image teacher's.
        has_text_side: it embeds texts into a space of its own.
        takes_class_texts: class texts (of a fitting width) can be brought into the space of its embedding.
    """

    reads: str
    classifies: bool
    embeds: bool
    embedding_dim: int | None
    has_text_side: bool
    takes_class_texts: bool

    @property
    def reads_images(self) -> bool:
        """Whether it looks at images, and not at what a teacher says of them."""
        return self.reads == "image"
