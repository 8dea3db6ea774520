"""A frozen vision transformer from transformers as the image teacher: DINO, BEiT, ViT, DINOv2 and their like.

Reads weights from a transformers folder or a hub repository. Knows nothing of Ray or of the store.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from orchestrator.errors import ConfigError
from orchestrator.teachers.encoder import (
    ATTENTION,
    EMBEDDING,
    FEATURE,
    TOKENS,
    ClipOutput,
    ImageEncoder,
    PretrainedSettings,
    checked_outputs,
)
from orchestrator.teachers.snapshot import weights_folder

if TYPE_CHECKING:
    import torch


class TransformersVisionSettings(PretrainedSettings):
    """A vision model by `AutoModel` (NYU report: `facebook/dino-vitb16`, `microsoft/beit-base-patch16-224`).

    `pooling` says which vector is the feature: the class token after the last norm (`cls`, DINO), the mean of the
    grid's tokens (`mean`), or the checkpoint's own pooler (`pooler`, BEiT: the normalised mean). A checkpoint without
    the pooler that is asked for is refused, because the library would draw one at random.
    """

    kind: Literal["transformers_vision"] = "transformers_vision"
    model: str = Field(description="a transformers directory or a hub id")
    pooling: Literal["cls", "mean", "pooler"] = "cls"
    outputs: tuple[ClipOutput, ...] = ("embedding",)

    @field_validator("outputs")
    @classmethod
    def _outputs_hold(cls, value: tuple[ClipOutput, ...]) -> tuple[ClipOutput, ...]:
        return checked_outputs(value)

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows."""
        own = {"pooling": self.pooling, "outputs": list(self.outputs)}
        return {"kind": self.kind, **self._identity("transformers"), **own}

    def build_image(self) -> ImageEncoder:
        """See `ImageEncoder`; embedding = unit feature."""
        import torch
        import transformers

        from orchestrator.teachers.hf_images import hf_transform, last_attention
        from orchestrator.teachers.torch_encoders import TorchImageEncoder, default_device, refuse_missing

        folder = str(weights_folder(self.model, self.revision, refuse_pickles=False))
        eager = {"attn_implementation": "eager"} if ATTENTION in self.outputs else {}
        device, dtype = default_device(), getattr(torch, self.dtype)
        model, loading = transformers.AutoModel.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **eager
        )
        missing = [name for name in loading["missing_keys"] if self.pooling == "pooler" or not _is_pooler(name)]
        refuse_missing(self.model, missing, f"all weights of a {type(model).__name__} with pooling {self.pooling}")
        if not hasattr(model.config, "patch_size"):
            raise ConfigError(f"model {self.model} is no vision transformer ({type(model).__name__})",
                              expected="one with class token and patches", remedy="use kind timm")  # fmt: skip
        model = model.to(device).eval()
        transform, preprocessing = hf_transform(folder)
        info: dict[str, Any] = {"preprocessing": preprocessing}

        def forward(pixels: "torch.Tensor") -> "dict[str, torch.Tensor]":
            passed = model(pixel_values=pixels, output_attentions=ATTENTION in self.outputs)
            tokens = passed.last_hidden_state
            rows, columns = (side // model.config.patch_size for side in pixels.shape[2:])
            prefix = tokens.shape[1] - rows * columns  # class token, and registers where a model has them
            if TOKENS in self.outputs:
                info.update(num_prefix_tokens=prefix, grid=[rows, columns])
            if self.pooling == "pooler":
                feature = passed.pooler_output
            else:
                feature = tokens[:, 0] if self.pooling == "cls" else tokens[:, prefix:].mean(1)
            found = {EMBEDDING: feature, FEATURE: feature, TOKENS: tokens}
            if ATTENTION in self.outputs:
                found[ATTENTION] = last_attention(self.model, passed)
            return found

        return TorchImageEncoder(transform, forward, self.outputs, module=model, device=device, dtype=dtype, info=info)


def _is_pooler(name: str) -> bool:
    return name.split(".", 1)[0] == "pooler"
