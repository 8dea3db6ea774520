"""What the transformers image kinds share: the checkpoint's own preprocessing, and reading its attention maps.

Imported by `build` functions only, because it imports transformers.
"""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from orchestrator.errors import ConfigError

SHOWN = ("size", "crop_size", "do_center_crop", "image_mean", "image_std", "resample", "rescale_factor", "do_normalize")
BACKEND = "pil"  # said outright: the two resize differently, and the default depends on what is installed


def hf_transform(folder: str) -> tuple[Callable[[Sequence[Image.Image]], Tensor], dict[str, Any]]:
    """The folder's image processor as images -> pixels [n, 3, H, W], float32, and its settings as plain JSON."""
    processor = AutoImageProcessor.from_pretrained(folder, backend=BACKEND)
    settings = processor.to_dict()
    shown = {name: settings[name] for name in SHOWN if settings.get(name) is not None}
    shown["processor"] = type(processor).__name__

    def transform(images: Sequence[Image.Image]) -> Tensor:
        return processor(images=list(images), return_tensors="pt")["pixel_values"].float()

    return transform, shown


def last_attention(model: str, passed: Any) -> Tensor:
    """The last block's attention maps [n, heads, T, T] of a pass that was asked for them."""
    if not passed.attentions or passed.attentions[-1] is None:
        raise ConfigError(f"model {model} gives no attention maps", expected="outputs without attention for it")
    maps: Tensor = passed.attentions[-1]
    return maps
