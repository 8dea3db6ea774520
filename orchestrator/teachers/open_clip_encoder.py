"""A frozen CLIP from open_clip: its text tower embeds captions, its image tower is the visual teacher.

Reads weights from an open_clip folder: the embedded teachers', a local one, a hub repository's, or the repository that
open_clip's registry names for a model and a pretrained tag. Knows nothing of Ray or of the store.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.teachers.encoder import ATTENTION, EMBEDDING, FEATURE, TOKENS, ClipSettings, ImageEncoder, TextEncoder
from orchestrator.teachers.snapshot import weights_folder
from orchestrator.teachers.timm_encoder import tokens_of

if TYPE_CHECKING:
    import torch

    from orchestrator.teachers.text_tower import TextTower

_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class OpenClipSettings(ClipSettings):
    """CLIP by open_clip (VLM-KD: ViT-B/16; the OOD paper: ViT-L/14)."""

    kind: Literal["open_clip"] = "open_clip"
    model: str = Field(
        default="embedded:tiny_clip",
        description="embedded:NAME, an open_clip directory or hub id, or a registry name such as ViT-B-16",
    )
    pretrained: str | None = Field(default=None, description="pretrained tag, for a registry name such as ViT-B-16")

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows."""
        return {"kind": self.kind, **self._identity("open_clip_torch"), "outputs": list(self.outputs)}

    def _weights(self) -> tuple[str, str | None]:
        if self.pretrained is None:
            return self.model, self.revision
        import open_clip

        registered = open_clip.get_pretrained_cfg(self.model, self.pretrained)
        if not (repository := registered.get("hf_hub", "").rsplit("/", 1)[0]):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model)) or "(none)"
            raise ConfigError(
                f"model {self.model}, pretrained {self.pretrained}: open_clip knows no hub repository for them",
                expected=f"one of the tags {tags}",
                remedy="correct the names, or give an open_clip directory or hub id as the model",
            )
        return repository, self.revision

    def _load(self) -> tuple[Any, Any, str, "torch.device"]:
        import open_clip

        from orchestrator.teachers.torch_encoders import default_device

        name, device = f"local-dir:{weights_folder(*self._weights())}", default_device()
        model, _, preprocess = open_clip.create_model_and_transforms(
            name, device=device, precision=_PRECISIONS[self.dtype], weights_only=True
        )
        return model.eval(), preprocess, name, device

    def build_text(self) -> TextEncoder:
        """The text tower: texts -> unit embeddings [n, e], float32. Longer texts are cut at the context length."""
        import open_clip

        from orchestrator.teachers.torch_encoders import TorchTextEncoder

        model, _, name, device = self._load()
        tokenizer = open_clip.get_tokenizer(name)

        def embed(texts: list[str]) -> "torch.Tensor":
            return model.encode_text(tokenizer(texts).to(device))

        return TorchTextEncoder(embed, lambda texts: _count(tokenizer, texts), tokenizer.context_length)

    def build_text_tower(self) -> "TextTower":
        """The text tower with gradient."""
        import open_clip

        from orchestrator.teachers.text_tower import open_clip_text_tower

        model, _, name, _ = self._load()
        tokenizer = open_clip.get_tokenizer(name)
        return open_clip_text_tower(self.model, model, tokenizer, lambda texts: _count(tokenizer, texts))

    def build_image(self) -> ImageEncoder:
        """The image tower; see `ImageEncoder`. The feature is the pooled token before the projection."""
        import open_clip
        import torch

        from orchestrator.teachers.torch_encoders import TorchImageEncoder

        model, preprocess, _, device = self._load()
        shown = {name: value for name, value in model.visual.preprocess_cfg.items() if name != "fill_color"}
        info: dict[str, Any] = {"preprocessing": shown}
        forward = _forward(self.model, model, self.outputs, info)
        return TorchImageEncoder(
            lambda images: torch.stack([preprocess(image) for image in images]), forward, self.outputs,
            module=model.visual, device=device,
            dtype=open_clip.get_input_dtype(_PRECISIONS[self.dtype]) or torch.float32, info=info,
        )  # fmt: skip


def _count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of each text with its two special ones, uncut."""
    inner = getattr(tokenizer, "tokenizer", None)  # of open_clip's wrapper of a transformers tokenizer
    if inner is None:
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    return [len(ids) for ids in inner([tokenizer.clean_fn(text) for text in texts], verbose=False)["input_ids"]]


def _forward(
    name: str, model: Any, outputs: Sequence[str], info: dict[str, Any]
) -> "Callable[[torch.Tensor], dict[str, torch.Tensor]]":
    """The tower's pass with the outputs asked for; adds grid and prefix tokens to `info`."""
    if tuple(outputs) == (EMBEDDING,):
        return lambda pixels: {EMBEDDING: model.encode_image(pixels)}
    from orchestrator.teachers.attention import keep_attention

    visual = model.visual
    attention = keep_attention(name, visual) if ATTENTION in outputs else None
    passing = _timm_pass if hasattr(visual, "trunk") else _native_pass(name, visual)

    def forward(pixels: "torch.Tensor") -> "dict[str, torch.Tensor]":
        found = passing(visual, pixels, outputs, info)
        if attention is not None:
            found[ATTENTION] = attention.take()
        return found

    return forward


def _timm_pass(
    visual: Any, pixels: "torch.Tensor", outputs: Sequence[str], info: dict[str, Any]
) -> "dict[str, torch.Tensor]":
    """A tower whose trunk is a timm model; a head of open_clip's may follow the trunk's own."""
    last = visual.trunk.forward_features(pixels)
    found = {
        FEATURE: visual.trunk.forward_head(last, pre_logits=True),
        EMBEDDING: visual.head(visual.trunk.forward_head(last)),
    }
    if TOKENS in outputs:
        found[TOKENS] = tokens_of(visual.trunk, last, info)
    return found


def _native_pass(name: str, visual: Any) -> "Callable[..., dict[str, torch.Tensor]]":
    """A tower of open_clip's own; its projection is taken off for its pass, so that this ends with the feature."""
    import torch

    if not hasattr(visual, "proj"):
        raise ConfigError(
            f"model {name}: its image tower ({type(visual).__name__}) has no feature apart from its embedding",
            expected="outputs: [embedding] for it",
        )
    visual.output_tokens = False  # CoCa's tower gives tokens of its own beside the pooled one

    def forward(
        visual: Any, pixels: torch.Tensor, outputs: Sequence[str], info: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        projection, visual.proj = visual.proj, None
        try:
            found, feature = without_projection(visual, pixels, outputs, info)
        finally:
            visual.proj = projection  # so that the module's weights are whole between passes
        return {**found, FEATURE: feature, EMBEDDING: feature if projection is None else feature @ projection}

    def without_projection(
        visual: Any, pixels: torch.Tensor, outputs: Sequence[str], info: dict[str, Any]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        found = {}
        if TOKENS in outputs:
            passed = visual.forward_intermediates(
                pixels, indices=1, normalize_intermediates=True, output_fmt="NLC", output_extra_tokens=True
            )
            prefix = passed["image_intermediates_prefix"][-1]
            info.update(num_prefix_tokens=prefix.shape[1], grid=[int(side) for side in visual.grid_size])
            found[TOKENS] = torch.cat([prefix, passed["image_intermediates"][-1]], dim=1)
            feature = passed["image_features"]
        else:
            feature = visual(pixels)
        return found, feature

    return forward
