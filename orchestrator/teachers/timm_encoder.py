"""A frozen vision model from timm as the image teacher: DINO, BEiT, or any other.

Reads weights from a timm folder (config.json and safetensors), a hub repository, or the one that a registry name with a
pretrained tag stands for. Knows nothing of Ray or of the store.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from orchestrator.errors import ConfigError
from orchestrator.teachers.encoder import (
    ATTENTION,
    EMBEDDING,
    FEATURE,
    LOGITS,
    TOKENS,
    ImageEncoder,
    PretrainedSettings,
    checked_outputs,
)
from orchestrator.teachers.snapshot import weights_folder

if TYPE_CHECKING:
    import torch

TimmOutput = Literal["embedding", "feature", "tokens", "attention", "logits"]


class TimmEncoderSettings(PretrainedSettings):
    """A timm model (NYU report: DINO and BEiT, ViT-B/16); pooled as the model itself pools before its classifier."""

    kind: Literal["timm"] = "timm"
    model: str = Field(description="a timm directory, a hub id such as timm/vit_small_patch16_224.dino, or that name")
    outputs: tuple[TimmOutput, ...] = ("embedding",)

    @field_validator("outputs")
    @classmethod
    def _outputs_hold(cls, value: tuple[TimmOutput, ...]) -> tuple[TimmOutput, ...]:
        return checked_outputs(value)

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows; the pooling is the model's own, so the weights' digest pins it."""
        return {"kind": self.kind, **self._identity("timm", "torchvision"), "outputs": list(self.outputs)}

    def _weights(self) -> tuple[str, str | None]:
        """The hub repository that a registry name with a pretrained tag stands for; other names as they are."""
        name, _, tag = self.model.partition(".")
        if not tag or "/" in self.model:
            return self.model, self.revision
        import timm

        if not timm.is_model(name) or (registered := timm.get_pretrained_cfg(self.model)) is None:
            return self.model, self.revision
        if not (repository := registered.hf_hub_id):
            raise ConfigError(f"model {self.model}: timm knows no hub repository for it", remedy="give a directory")
        return repository, self.revision

    def build_image(self) -> ImageEncoder:
        """See `ImageEncoder`; embedding = unit feature, tokens of a convolutional model = its last map's positions."""
        import timm
        import torch

        from orchestrator.teachers.attention import keep_attention
        from orchestrator.teachers.torch_encoders import TorchImageEncoder, default_device

        device, dtype = default_device(), getattr(torch, self.dtype)
        loaded: Any = timm.create_model(f"local-dir:{weights_folder(*self._weights())}", pretrained=True)
        model = loaded.to(device=device, dtype=dtype).eval()
        if LOGITS in self.outputs and not model.num_classes:
            raise ConfigError(f"model {self.model} has no classifier", expected="outputs without logits for it")
        config = timm.data.resolve_model_data_config(model)
        transform = timm.data.create_transform(**config, is_training=False)
        attention = keep_attention(self.model, model) if ATTENTION in self.outputs else None
        info: dict[str, Any] = {"preprocessing": {name: _plain(value) for name, value in config.items()}}

        def forward(pixels: "torch.Tensor") -> "dict[str, torch.Tensor]":
            last = model.forward_features(pixels)
            feature = model.forward_head(last, pre_logits=True)
            found = {EMBEDDING: feature, FEATURE: feature}
            if attention is not None:
                found[ATTENTION] = attention.take()
            if TOKENS in self.outputs:
                found[TOKENS] = tokens_of(model, last, info)
            if LOGITS in self.outputs:
                found[LOGITS] = model.forward_head(last)
            return found

        return TorchImageEncoder(
            lambda images: torch.stack([transform(image) for image in images]), forward, self.outputs,
            module=model, device=device, dtype=dtype, info=info,
        )  # fmt: skip


def tokens_of(model: Any, last: "torch.Tensor", info: dict[str, Any]) -> "torch.Tensor":
    """The last features as [n, T, d]; tells `info` how many come before the grid, and the grid."""
    if last.ndim == 3:
        info["num_prefix_tokens"] = int(getattr(model, "num_prefix_tokens", 0))
        if hasattr(model, "patch_embed"):
            info["grid"] = [int(side) for side in model.patch_embed.grid_size]
        return last
    maps = last if getattr(model, "output_fmt", "NCHW") == "NHWC" else last.permute(0, 2, 3, 1)
    info.update(num_prefix_tokens=0, grid=[int(side) for side in maps.shape[1:3]])
    return maps.flatten(1, 2)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
