"""A frozen CLIP or BLIP from transformers: text tower, image tower, or both.

Reads weights from a transformers folder or a hub repository. Knows nothing of Ray or of the store.
"""

from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import ConfigError
from orchestrator.teachers.encoder import (
    ATTENTION,
    EMBEDDING,
    FEATURE,
    TOKENS,
    ClipSettings,
    ImageEncoder,
    TextEncoder,
)
from orchestrator.teachers.snapshot import weights_folder

if TYPE_CHECKING:
    import torch

    from orchestrator.teachers.text_tower import TextTower

ARCHITECTURES = ("CLIPModel", "BlipForImageTextRetrieval", "BlipModel")


class TransformersClipSettings(ClipSettings):
    """`CLIPModel`, `BlipForImageTextRetrieval` or `BlipModel`, as the checkpoint's `architectures` says."""

    kind: Literal["transformers_clip"] = "transformers_clip"

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows."""
        return {"kind": self.kind, **self._identity("transformers"), "outputs": list(self.outputs)}

    def _load(self) -> tuple[Any, str, "torch.device"]:
        """The model, its folder and its device."""
        import torch
        import transformers

        from orchestrator.teachers.torch_encoders import default_device, refuse_missing

        folder = str(weights_folder(self.model, self.revision, refuse_pickles=False))
        architecture = (transformers.AutoConfig.from_pretrained(folder).architectures or [""])[0]
        if architecture not in ARCHITECTURES:
            raise ConfigError(
                f"model {self.model} is a {architecture or 'model of unnamed architecture'}",
                expected=f"one of {', '.join(ARCHITECTURES)}: other checkpoints hold no joint text and image space",
                remedy="name a CLIP checkpoint or a BLIP one for retrieval (blip-itm-...), or another kind",
            )
        eager = {"attn_implementation": "eager"} if ATTENTION in self.outputs else {}
        model, loading = getattr(transformers, architecture).from_pretrained(
            folder, dtype=getattr(torch, self.dtype), use_safetensors=True, output_loading_info=True, **eager
        )
        refuse_missing(self.model, sorted(loading["missing_keys"]), f"all weights of a {architecture}")
        device = default_device()
        return model.to(device).eval(), folder, device

    def build_text(self) -> TextEncoder:
        """The text tower: texts -> unit embeddings [n, e], float32. Longer texts are cut at the context length."""
        from transformers import AutoTokenizer

        from orchestrator.teachers.torch_encoders import TorchTextEncoder

        model, folder, device = self._load()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        limit = min(tokenizer.model_max_length, model.config.text_config.max_position_embeddings)
        retrieval = hasattr(model, "text_proj")

        def embed(texts: list[str]) -> "torch.Tensor":
            batch = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt").to(device)
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            if retrieval:
                return model.text_proj(model.text_encoder(**inputs).last_hidden_state[:, 0])
            return model.get_text_features(**inputs).pooler_output

        return TorchTextEncoder(
            embed, lambda texts: [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]], limit
        )

    def build_text_tower(self) -> "TextTower":
        """The text tower with gradient."""
        from transformers import AutoTokenizer

        from orchestrator.teachers.text_tower import transformers_text_tower

        model, folder, _ = self._load()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        limit = min(tokenizer.model_max_length, model.config.text_config.max_position_embeddings)
        return transformers_text_tower(model, tokenizer, limit)

    def build_image(self) -> ImageEncoder:
        """The image tower; see `ImageEncoder`. The feature is the pooled token before the projection."""
        import torch

        from orchestrator.teachers.hf_images import hf_transform, last_attention
        from orchestrator.teachers.torch_encoders import TorchImageEncoder

        model, folder, device = self._load()
        transform, preprocessing = hf_transform(folder)
        tower, retrieval = model.vision_model, hasattr(model, "vision_proj")
        side = model.config.vision_config.image_size // model.config.vision_config.patch_size
        # CLIP gives its last tokens before the final norm and pools after it; BLIP norms them itself.
        is_clip = type(model).__name__ == "CLIPModel"
        project = model.vision_proj if retrieval else model.visual_projection
        info: dict[str, Any] = {"preprocessing": preprocessing}
        if TOKENS in self.outputs:
            info |= {"num_prefix_tokens": 1, "grid": [side, side]}

        def forward(pixels: "torch.Tensor") -> "dict[str, torch.Tensor]":
            passed = tower(pixel_values=pixels, output_attentions=ATTENTION in self.outputs)
            tokens = tower.post_layernorm(passed.last_hidden_state) if is_clip else passed.last_hidden_state
            feature = tokens[:, 0] if retrieval else passed.pooler_output
            found = {EMBEDDING: project(feature), FEATURE: feature, TOKENS: tokens}
            if ATTENTION in self.outputs:
                found[ATTENTION] = last_attention(self.model, passed)
            return found

        module = torch.nn.ModuleDict({"tower": tower, "projection": project})
        return TorchImageEncoder(
            transform, forward, self.outputs, module=module, device=device, dtype=getattr(torch, self.dtype), info=info
        )
