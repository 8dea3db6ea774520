"""What a source of texts is: settings that give each training image (or each class) a group of texts, usually of one.

A group stands for one embedding: the mean of its texts' unit vectors, made unit again. Holds the two base classes and
their plain-data arguments. Knows nothing of encoders.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.frozen import Frozen

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DrawnVector:
    """A random unit vector instead of texts: a function of the seed and the name only."""

    seed: int
    name: str


Group = tuple[str, ...] | DrawnVector


@dataclass(frozen=True)
class TextMaterial:
    """The tables that texts are taken from.

    Attributes:
        train: the training images (see IMAGE_SCHEMA), in the order of the result.
        classes: by label (see CLASS_SCHEMA).
        captions: image_id, prompt, caption.
        descriptions: label, level, description, of all classes; None when no source asks for written descriptions.
    """

    train: "pa.Table"
    classes: "pa.Table"
    captions: "pa.Table"
    descriptions: "pa.Table | None" = None


class TextSource(Frozen, ABC):
    """Settings of one source; `names_classes` tells that it is of no use where classes have no names."""

    @property
    def names_classes(self) -> bool:
        """Whether the names of the classes are put into the texts or find them."""
        return False

    @property
    def draws_one(self) -> bool:
        """Whether each step of a training draws one text of an image's group, instead of taking their mean."""
        return False

    def identity(self) -> dict[str, Any]:
        """Everything that determines the texts beside the tables; of files their content, not their place."""
        return self.model_dump(mode="json")

    @abstractmethod
    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """The group of each training image; None where there is none (a quarantined caption)."""


class ClassTextSource(TextSource):
    """A source with one group for each class; all images of a class share it."""

    @abstractmethod
    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """The group of each class, by label."""

    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """See `TextSource`."""
        groups = self.texts_of_classes(material.classes, material.descriptions)
        return [groups[label] for label in material.train["label"].to_pylist()]
