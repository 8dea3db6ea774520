"""What a frozen encoder is: its settings, its identity, and what it does once built.

Holds the protocols, the names of the outputs and the settings that all pretrained kinds share. Reads weight files only
for their digest. Knows nothing of single libraries, of Ray or of the store.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator

from orchestrator.frozen import Frozen
from orchestrator.teachers.weights import weights_identity

EMBEDDING, FEATURE, TOKENS, ATTENTION, LOGITS = "embedding", "feature", "tokens", "attention", "logits"
ClipOutput = Literal["embedding", "feature", "tokens", "attention"]
ComputeDtype = Literal["float32", "bfloat16", "float16"]
StoreDtype = Literal["float32", "float16"]
Vectors = npt.NDArray[np.float32]
Name = TypeVar("Name", bound=str)


class TextEncoder(Protocol):
    """A built text encoder; one lives in each actor. Not thread-safe.

    Attributes:
        info: plain JSON: `context_length` (tokens, special ones included; None = unlimited) and `dims`.
    """

    info: dict[str, Any]

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Unit embeddings [n, e], float32; what exceeds the context length is cut off."""

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before it is cut, special tokens included."""

    def num_over_length(self, texts: Sequence[str]) -> int:
        """How many of the texts exceed the context length."""


class ImageEncoder(Protocol):
    """A built image encoder; one lives in each actor. Not thread-safe.

    Calling it is `encode(preprocess(images))`; the two are apart so that an image may be cropped, flipped or mixed in
    between, in the encoder's own pixel space.

    Attributes:
        info: plain JSON: `preprocessing` (size, mean, std, interpolation, crop), `dims` of each output, and for
            tokens `num_prefix_tokens` (class and register tokens, which come first) and `grid` [rows, columns].
    """

    info: dict[str, Any]

    def __call__(self, images: Sequence[Image.Image]) -> Mapping[str, Vectors]:
        """Output name -> rows, float32, for the outputs that the settings ask for.

        `embedding` [n, e]: projected (or pooled, where there is no projection), unit norm. `feature` [n, d]: pooled,
        before projection, not normalised. `tokens` [n, T, d]: after the last block (and its norm), prefix tokens first,
        then the grid in row order. `attention` [n, heads, T, T]: softmax of the last block, row = query. `logits`
        [n, C]: of the model's own classifier.
        """

    def preprocess(self, images: Sequence[Image.Image]) -> Any:
        """Images of any size and mode -> normalised pixels [n, 3, H, W], a float32 tensor on the CPU."""

    def encode(self, pixels: Any) -> Mapping[str, Vectors]:
        """Normalised pixels -> the outputs, as above."""


class PretrainedSettings(Frozen):
    """What all kinds with weights share.

    `dtype` is the number format of weights and computation, `store_dtype` that of the rows kept on disk; both are part
    of the identity, because both change numbers.
    """

    model: str = Field(description="embedded:NAME, a local directory, or a hub id")
    revision: str | None = Field(default=None, description="full commit of a hub id")
    dtype: ComputeDtype = "float32"
    store_dtype: StoreDtype = "float32"

    def label(self) -> str:
        """A readable name for folders."""
        return self.model.rstrip("/").rsplit("/", 1)[-1].replace(":", "-")

    def _weights(self) -> tuple[str, str | None]:
        """The weights' name and revision, where a kind knows other names for them."""
        return self.model, self.revision

    def _identity(self, *libraries: str) -> dict[str, Any]:
        """Weights, library versions and number formats."""
        return {
            "weights": weights_identity(*self._weights()),
            **{name: importlib.metadata.version(name) for name in libraries},
            "dtype": self.dtype,
            "store_dtype": self.store_dtype,
        }


class ClipSettings(PretrainedSettings):
    """What kinds with both a text and an image tower share.

    `outputs` is what the image tower is asked for; it must hold `embedding`.
    """

    outputs: tuple[ClipOutput, ...] = ("embedding",)
    logit_scale: float = Field(default=100.0, gt=0, description="scale of cosines where class logits are asked for")

    @field_validator("outputs")
    @classmethod
    def _outputs_hold(cls, value: tuple[ClipOutput, ...]) -> tuple[ClipOutput, ...]:
        return checked_outputs(value)


def checked_outputs(outputs: tuple[Name, ...]) -> tuple[Name, ...]:
    """The outputs in the order of the vocabulary; ValueError without `embedding` or with one named twice."""
    if EMBEDDING not in outputs or len(set(outputs)) != len(outputs):
        raise ValueError("outputs must hold embedding, and each name once")
    return tuple(sorted(outputs, key=(EMBEDDING, FEATURE, TOKENS, ATTENTION, LOGITS).index))


def over_length(info: Mapping[str, Any], num_tokens: Sequence[int]) -> int:
    """How many texts of these lengths exceed the context length in an encoder's `info`."""
    limit = info["context_length"]
    return 0 if limit is None else sum(length > limit for length in num_tokens)
