"""The parts that every encoder in torch shares: devices, normalisation, shapes and hooks.

Imported by `build` functions only, because it imports torch. Knows nothing of single libraries.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from orchestrator.errors import ArtifactError
from orchestrator.teachers.encoder import EMBEDDING, Vectors, over_length


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _array(rows: Tensor) -> Vectors:
    return np.asarray(rows.float().cpu().numpy())


class TorchTextEncoder:
    """See `TextEncoder`.

    Args:
        embed: texts -> [n, e], normalised or not.
        count: texts -> tokens of each, uncut.
        context_length: tokens the model reads.
    """

    def __init__(
        self,
        embed: Callable[[list[str]], Tensor],
        count: Callable[[list[str]], list[int]],
        context_length: int | None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self._embed, self._count = embed, count
        self.info: dict[str, Any] = {"context_length": context_length, **(info or {})}
        self.info["dims"] = {EMBEDDING: [int(self(["a"]).shape[1])]}

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Vectors:
        """See `TextEncoder`."""
        return _array(nn.functional.normalize(self._embed(list(texts)).float(), dim=-1))

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `TextEncoder`."""
        return self._count(list(texts))

    def num_over_length(self, texts: Sequence[str]) -> int:
        """See `TextEncoder`."""
        return over_length(self.info, self.num_tokens(texts))


class TorchImageEncoder:
    """See `ImageEncoder`.

    Args:
        transform: images -> normalised pixels [n, 3, H, W], float32.
        forward: pixels on the device in the computation's format -> outputs; the embedding normalised or not.
        outputs: names to give, all of them among the forward's.
        module: the network that `forward` runs, so that it can be trained and its weights replaced.
    """

    def __init__(
        self,
        transform: Callable[[Sequence[Image.Image]], Tensor],
        forward: Callable[[Tensor], Mapping[str, Tensor]],
        outputs: Sequence[str],
        *,
        module: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        info: Mapping[str, Any],
    ) -> None:
        self.module = module
        self._transform, self._forward, self._outputs = transform, forward, tuple(outputs)
        self._device, self._dtype = device, dtype
        probe = self([Image.new("RGB", (32, 32))])  # a first pass may also add to `info`
        self.info: dict[str, Any] = {**info, "dims": {name: list(rows.shape[1:]) for name, rows in probe.items()}}

    def __call__(self, images: Sequence[Image.Image]) -> dict[str, Vectors]:
        """See `ImageEncoder`."""
        return self.encode(self.preprocess(images))

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """See `ImageEncoder`."""
        return self._transform([image if image.mode == "RGB" else image.convert("RGB") for image in images])

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> dict[str, Vectors]:
        """See `ImageEncoder`."""
        found = self.forward(pixels)
        return {name: _array(found[name]) for name in self._outputs}

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """What `encode` gives, and perhaps more, as tensors on the device, with gradient to `module`."""
        found = dict(self._forward(pixels.to(device=self._device, dtype=self._dtype)))
        found[EMBEDDING] = nn.functional.normalize(found[EMBEDDING].float(), dim=-1)
        return found


class Kept:
    """What a hook saw last; `take` gives it once."""

    def __init__(self) -> None:
        self._value: Tensor | None = None

    def keep(self, value: Tensor) -> None:
        """Remember a tensor."""
        self._value = value

    def take(self) -> Tensor:
        """The tensor of this pass."""
        assert self._value is not None, "the hooked module did not run"
        value, self._value = self._value, None
        return value


def refuse_missing(model: str, missing: Sequence[str], expected: str) -> None:
    """Raise ArtifactError when weights that the outputs depend on are not in the checkpoint.

    Libraries draw missing weights at random and only log it: the embeddings would differ at every start.
    """
    if missing:
        shown = ", ".join(sorted(missing)[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ArtifactError(
            f"model {model}: its checkpoint lacks {shown}", expected=expected, remedy="name another checkpoint"
        )
