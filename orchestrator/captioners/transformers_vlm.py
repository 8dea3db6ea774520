"""Texts by any vision-language or language model that transformers loads.

Reads weights from a local directory, a hub id, or the embedded teachers. Knows nothing of Ray or of the store. Which
families share the work of an image among its prompts, and how much of it: `generation/sharing.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from orchestrator.captioners.protocol import Answer, Usage, Visit
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.teachers.weights import require_pinned, weights_identity

if TYPE_CHECKING:
    from orchestrator.captioners.generation.protocol import Generator
    from orchestrator.captioners.generation.sharing import Sharing


class TransformersCaptionerSettings(Frozen):
    """Captions by `AutoModelForImageTextToText`, texts without an image also by `AutoModelForCausalLM`.

    Source: VLM-KD (LLaVA-NeXT, Mistral-7B; decoding: methods 2.5).
    """

    kind: Literal["transformers"] = "transformers"
    model: str = Field(default="embedded:tiny_vlm", description="directory, hub id, or embedded:NAME")
    revision: str | None = Field(default=None, description="commit hash (40 hexadecimal digits) of a hub id")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["eager", "sdpa"] = Field(
        default="sdpa", description="which of transformers' implementations computes attention"
    )
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        default=None, description="spread a model over the GPUs that the actor has; null: all of it on one device"
    )
    prompt_format: Literal["chat", "text_prefix", "none"] = Field(
        default="chat",
        description="chat: the model's chat template; for BLIP and BLIP-2: a text to continue, or no prompt at all",
    )
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    min_new_tokens: int = Field(default=0, ge=0)
    num_beams: int = Field(default=1, ge=1, le=64, description="1: greedy")
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _minimum_fits(self) -> "TransformersCaptionerSettings":
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens ({self.min_new_tokens}) is above max_new_tokens ({self.max_new_tokens})")
        return self

    def identity(self) -> dict[str, Any]:
        """Everything that determines the texts: weights and templates, the code, the numbers' format, decoding.

        The code is transformers, exactly: it defines the computation. torch's version is left out, like the kind of
        GPU, the batch and `device_map`: they only round the same computation differently. A store would gain nothing
        from it, since one of GPUs of two kinds mixes such roundings anyway, and a security update of torch would
        make every caption again.
        """
        import transformers

        return {
            "kind": self.kind,
            "weights": weights_identity(self.model, self.revision),
            "transformers": transformers.__version__,
            "trust_remote_code": self.trust_remote_code,
            "attention": self.attention,
            "dtype": self.dtype,
            "prompt_format": self.prompt_format,
            "decoding": {
                "strategy": "greedy" if self.num_beams == 1 else "beam search",
                "num_beams": self.num_beams,
                "max_new_tokens": self.max_new_tokens,
                "min_new_tokens": self.min_new_tokens,
            },
        }

    def label(self) -> str:
        """A readable name for folders."""
        return self.model.rstrip("/").rsplit("/", 1)[-1].replace(":", "-")

    def build(self) -> "TransformersCaptioner":
        """Load processor and model.

        Raises:
            ConfigError: a hub id without a commit, unknown architectures, weights that are not safetensors, a chat
                model without a template, or a prompt format that is not the family's.
        """
        return TransformersCaptioner(self)


class TransformersCaptioner:
    """See `Captioner`; batched, padded on the left.

    Attributes:
        sharing: what the prompts of one image share: `prefix`, `image` or `none`.
    """

    def __init__(self, settings: TransformersCaptionerSettings) -> None:
        self.usage = Usage()
        self._generator = _generator(settings, self.usage)
        self.sharing: Sharing = self._generator.sharing

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """See `Captioner`."""
        import torch

        answers: list[list[Answer]] = [[] for _ in visits]
        with torch.inference_mode():
            seen = [(at, visit.image, visit.prompts) for at, visit in enumerate(visits) if visit.image is not None]
            if seen:
                told = self._generator.describe([image for _, image, _ in seen], [prompts for _, _, prompts in seen])
                for (at, _, _), texts in zip(seen, told, strict=True):
                    answers[at] = list(texts)
            unseen = [
                (at, prompt) for at, visit in enumerate(visits) if visit.image is None for prompt in visit.prompts
            ]
            if unseen:
                for (at, _), text in zip(unseen, self._generator.write([p for _, p in unseen]), strict=True):
                    answers[at].append(text)
        return answers


def _generator(settings: TransformersCaptionerSettings, usage: Usage) -> "Generator":
    from orchestrator.captioners.generation.blip import BLIP_TYPES, Blip
    from orchestrator.captioners.generation.chat_llm import ChatLlm
    from orchestrator.captioners.generation.chat_vlm import ChatVlm
    from orchestrator.captioners.generation.decoding import Decoding
    from orchestrator.captioners.generation.loading import Weights

    require_pinned(settings.model, settings.revision)
    weights = Weights(settings)
    decoding = Decoding(
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens,
        num_beams=settings.num_beams,
    )
    is_blip = weights.model_type in BLIP_TYPES
    if is_blip != (settings.prompt_format != "chat"):
        raise ConfigError(
            f"model {settings.model}: a {weights.model_type} with prompt_format: {settings.prompt_format}",
            expected="text_prefix or none for BLIP and BLIP-2, which continue texts; chat for every other family",
            remedy=f"set prompt_format: {'text_prefix' if is_blip else 'chat'}",
        )
    if weights.kind == "text":
        return ChatLlm(weights, decoding, usage)
    if settings.prompt_format == "chat":
        return ChatVlm(weights, decoding, usage, settings.dtype)
    return Blip(weights, decoding, usage, settings.dtype, settings.prompt_format)
