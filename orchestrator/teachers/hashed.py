"""An encoder without weights: texts by hashed words, images by their mean colours. For smoke tests and dry lines.

Reads and writes nothing. Knows nothing of models.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from orchestrator.frozen import Frozen
from orchestrator.teachers.encoder import (
    ATTENTION,
    EMBEDDING,
    FEATURE,
    TOKENS,
    ClipOutput,
    ImageEncoder,
    StoreDtype,
    TextEncoder,
    Vectors,
    checked_outputs,
)

SIDE = 4  # of the thumbnail, and so of the grid of tokens


class HashedEncoderSettings(Frozen):
    """Each word is a random unit direction; a text is the normalised sum of its words'."""

    kind: Literal["hashed"] = "hashed"
    dim: int = Field(default=32, ge=4, le=4096, description="width of the embeddings")
    context_length: int | None = Field(default=None, ge=1, description="words that are read; null = all")
    store_dtype: StoreDtype = "float32"
    outputs: tuple[ClipOutput, ...] = ("embedding",)
    logit_scale: float = Field(default=100.0, gt=0, description="multiplies cosines, which makes class logits of them")

    @field_validator("outputs")
    @classmethod
    def _outputs_hold(cls, value: tuple[ClipOutput, ...]) -> tuple[ClipOutput, ...]:
        return checked_outputs(value)

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name != "logit_scale"}

    def label(self) -> str:
        """A readable name for folders."""
        return f"hashed-{self.dim}"

    def build_text(self) -> TextEncoder:
        """See `TextEncoder`."""
        return HashedTextEncoder(self)

    def build_image(self) -> ImageEncoder:
        """See `ImageEncoder`."""
        return HashedImageEncoder(self)


class HashedTextEncoder:
    """Texts -> unit embeddings [n, dim]; a text without words is zero."""

    def __init__(self, settings: HashedEncoderSettings) -> None:
        self._dim, self._limit = settings.dim, settings.context_length
        self.info: dict[str, Any] = {"context_length": self._limit, "dims": {EMBEDDING: [self._dim]}}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """See `TextEncoder`."""
        zero = np.zeros(self._dim)
        return _unit(np.stack([sum((_direction(word, self._dim) for word in self._words(t)), zero) for t in texts]))

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(text.split()) for text in texts]

    def num_over_length(self, texts: Sequence[str]) -> int:
        """See `TextEncoder`."""
        return 0 if self._limit is None else sum(length > self._limit for length in self.num_tokens(texts))

    def _words(self, text: str) -> list[str]:
        return text.lower().split()[: self._limit]


class HashedImageEncoder:
    """Images by the cells of a 4 by 4 thumbnail, each projected to a token; the feature is the tokens' sum."""

    def __init__(self, settings: HashedEncoderSettings) -> None:
        self._outputs = settings.outputs
        self._projection = np.stack([_direction(f"pixel {index}", settings.dim) for index in range(3 * SIDE**2)])
        cells, dim = SIDE**2, settings.dim
        dims = {EMBEDDING: [dim], FEATURE: [dim], TOKENS: [cells, dim], ATTENTION: [1, cells, cells]}
        self.info: dict[str, Any] = {
            "preprocessing": {"size": SIDE, "scale": 1 / 255},
            "dims": {name: dims[name] for name in self._outputs},
            "num_prefix_tokens": 0,
            "grid": [SIDE, SIDE],
        }

    def __call__(self, images: Sequence[Image.Image]) -> dict[str, Vectors]:
        """See `ImageEncoder`."""
        return self.encode(self.preprocess(images))

    def preprocess(self, images: Sequence[Image.Image]) -> Any:
        """Thumbnails [n, 3, 4, 4], values 0 to 1, float64."""
        thumbnails = [np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float64) / 255 for image in images]
        return np.stack(thumbnails).transpose(0, 3, 1, 2)

    def encode(self, pixels: Any) -> dict[str, Vectors]:
        """See `ImageEncoder`; attention = softmax of the tokens' scaled products."""
        flat = np.asarray(pixels, np.float64).transpose(0, 2, 3, 1).reshape(len(pixels), -1)
        feature = flat @ self._projection
        found = {EMBEDDING: _unit(feature), FEATURE: feature.astype(np.float32)}
        if {TOKENS, ATTENTION} & set(self._outputs):
            cells = flat.reshape(len(flat), SIDE**2, 3)
            tokens = np.einsum("ntc,tcd->ntd", cells, self._projection.reshape(SIDE**2, 3, -1))
            scores = np.exp(np.einsum("nqd,nkd->nqk", tokens, tokens) / tokens.shape[-1])
            found[TOKENS] = tokens.astype(np.float32)
            found[ATTENTION] = (scores / scores.sum(-1, keepdims=True))[:, None].astype(np.float32)
        return {name: found[name] for name in self._outputs}


def _direction(word: str, dim: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(dim)


def _unit(rows: "np.ndarray[Any, np.dtype[np.float64]]") -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)
