"""A frozen CLIP from open_clip: its text tower embeds captions, its image tower is the visual teacher.

Reads weights from an open_clip local directory, the embedded teachers, or a registry name with a pretrained tag.
Knows nothing of Ray or of the store.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.teachers.weights import resolve_model, weights_identity

if TYPE_CHECKING:
    import torch

TextEncoder = Callable[[Sequence[str]], "np.ndarray[Any, np.dtype[np.float32]]"]
ImageEncoder = Callable[[Sequence[Image.Image]], "np.ndarray[Any, np.dtype[np.float32]]"]


class OpenClipSettings(Frozen):
    """CLIP by open_clip (VLM-KD: ViT-B/16; the OOD paper: ViT-L/14)."""

    kind: Literal["open_clip"] = "open_clip"
    model: str = "embedded:tiny_clip"
    pretrained: str | None = Field(default=None, description="pretrained tag, for a registry name such as ViT-B-16")
    logit_scale: float = Field(default=100.0, gt=0, description="scale of cosines where class logits are asked for")

    def identity(self) -> dict[str, Any]:
        """Everything that determines the embeddings."""
        import open_clip

        weights = weights_identity(self.model, self.pretrained)
        return {"kind": self.kind, "weights": weights, "open_clip": open_clip.__version__, "dtype": "float32"}

    def label(self) -> str:
        """A readable name for folders."""
        return self.model.rsplit("/", 1)[-1].replace(":", "-")

    def _name(self) -> str:
        source = resolve_model(self.model)
        return f"local-dir:{source}" if Path(source).is_dir() else source

    def _load(self) -> tuple[Any, Any, "torch.device"]:
        import open_clip
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, _, preprocess = open_clip.create_model_and_transforms(
            self._name(), pretrained=self.pretrained, device=device, precision="fp32", weights_only=True
        )
        return model.eval(), preprocess, device

    def build_text(self) -> TextEncoder:
        """The text tower: texts -> unit embeddings [n, e], float32. Longer texts are cut at the context length."""
        import open_clip
        import torch

        model, _, device = self._load()
        tokenizer = open_clip.get_tokenizer(self._name())

        @torch.inference_mode()
        def encode(texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
            tokens = tokenizer(list(texts)).to(device)
            return np.asarray(model.encode_text(tokens, normalize=True).float().cpu().numpy())

        return encode

    def build_image(self) -> ImageEncoder:
        """The image tower: images -> unit embeddings [n, D], float32."""
        import torch

        model, preprocess, device = self._load()

        @torch.inference_mode()
        def encode(images: Sequence[Image.Image]) -> "np.ndarray[Any, np.dtype[np.float32]]":
            pixels = torch.stack([preprocess(image) for image in images]).to(device)
            return np.asarray(model.encode_image(pixels, normalize=True).float().cpu().numpy())

        return encode
