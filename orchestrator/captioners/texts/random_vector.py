"""Texts of kind `random`: no text at all, but a random unit vector for each image. A control arm.

Reads the names of the images. Knows nothing of encoders.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from orchestrator.captioners.texts.source import DrawnVector, Group, TextMaterial, TextSource


class RandomVectorText(TextSource):
    """A vector drawn once for each image by the seed and its id: tells images apart and says nothing of them."""

    kind: Literal["random"] = "random"
    seed: int = Field(default=0, ge=0)

    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """See `TextSource`."""
        return [DrawnVector(self.seed, name) for name in material.train["image_id"].to_pylist()]
