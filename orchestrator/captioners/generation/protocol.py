"""What answers prompts inside the transformers back end: with images, and without.

Holds a protocol. Knows nothing of model families.
"""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from orchestrator.captioners.generation.sharing import Sharing


class Generator(Protocol):
    """A loaded model with one way of asking it.

    Attributes:
        sharing: what the prompts of one image share; see `sharing.py`.
    """

    sharing: Sharing

    def describe(self, images: Sequence[Image.Image], prompts: Sequence[Sequence[str]]) -> list[list[str]]:
        """The answers about each image, one for each of its prompts."""

    def write(self, prompts: Sequence[str]) -> list[str]:
        """The answers to prompts without an image."""
