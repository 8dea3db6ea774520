"""An encoder without weights: texts by hashed words, images by their mean colours. For smoke tests and dry lines.

Reads and writes nothing. Knows nothing of models.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.teachers.open_clip_encoder import ImageEncoder, TextEncoder


class HashedEncoderSettings(Frozen):
    """Each word is a random unit direction; a text is the normalised sum of its words'."""

    kind: Literal["hashed"] = "hashed"
    dim: int = Field(default=32, ge=4, le=4096)
    logit_scale: float = Field(default=100.0, gt=0)

    def identity(self) -> dict[str, Any]:
        """Everything that determines the embeddings."""
        return {"kind": self.kind, "dim": self.dim}

    def label(self) -> str:
        """A readable name for folders."""
        return f"hashed-{self.dim}"

    def build_text(self) -> TextEncoder:
        """Texts -> unit embeddings [n, dim], float32."""

        def encode(texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
            rows = [
                sum((_direction(word, self.dim) for word in text.lower().split()), np.zeros(self.dim)) for text in texts
            ]
            return _unit(np.stack(rows))

        return encode

    def build_image(self) -> ImageEncoder:
        """Images -> unit embeddings [n, dim], float32, of a 4 by 4 thumbnail under a fixed projection."""
        projection = np.stack([_direction(f"pixel {index}", self.dim) for index in range(48)])

        def encode(images: Sequence[Image.Image]) -> "np.ndarray[Any, np.dtype[np.float32]]":
            thumbnails = [np.asarray(image.convert("RGB").resize((4, 4)), np.float64).ravel() / 255 for image in images]
            return _unit(np.stack(thumbnails) @ projection)

        return encode


def _direction(word: str, dim: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(dim)


def _unit(rows: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float32]]":
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)
