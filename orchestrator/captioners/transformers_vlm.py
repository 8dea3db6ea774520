"""Captions by any vision-language model that transformers loads as an image-text-to-text model with a chat template.

Reads weights from a local directory, a hub id, or the embedded teachers. Knows nothing of Ray or of the store.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from orchestrator.captioners.protocol import Answer, Usage, Visit
from orchestrator.frozen import Frozen
from orchestrator.teachers.weights import resolve_model, weights_identity


class TransformersCaptionerSettings(Frozen):
    """Greedy captions by `AutoModelForImageTextToText` (VLM-KD: LLaVA-NeXT, Mistral-7B; decoding: methods 2.5)."""

    kind: Literal["transformers"] = "transformers"
    model: str = "embedded:tiny_vlm"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["eager", "sdpa"] = "sdpa"
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    trust_remote_code: bool = False

    def identity(self) -> dict[str, Any]:
        """Everything that determines the captions: weights, back end and its version, decoding, number format."""
        import transformers

        return {
            "kind": self.kind,
            "weights": weights_identity(self.model, self.revision),
            "transformers": transformers.__version__,
            "attention": self.attention,
            "dtype": self.dtype,
            "decoding": {"strategy": "greedy", "max_new_tokens": self.max_new_tokens},
        }

    def label(self) -> str:
        """A readable name for folders."""
        return self.model.rsplit("/", 1)[-1].replace(":", "-")

    def build(self) -> "TransformersCaptioner":
        """Load processor and model (on the GPU if there is one)."""
        return TransformersCaptioner(self)


class TransformersCaptioner:
    """See `Captioner`; batched, padded on the left, greedy."""

    def __init__(self, settings: TransformersCaptionerSettings) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.usage = Usage()
        self._max_new_tokens = settings.max_new_tokens
        source = resolve_model(settings.model)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
        self._processor = AutoProcessor.from_pretrained(source, **options)
        self._processor.tokenizer.padding_side = "left"
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=getattr(torch, settings.dtype),
            attn_implementation=settings.attention,
            use_safetensors=True,
            **options,
        )
        self._model = model.to(self._device).eval()

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """See `Captioner`."""
        images = [visit.image for visit in visits for _ in visit.prompts]
        texts = iter(self._generate(images, [prompt for visit in visits for prompt in visit.prompts]))
        return [[next(texts) for _ in visit.prompts] for visit in visits]

    def _generate(self, images: Sequence[Any], prompts: Sequence[str]) -> list[str]:
        import torch

        with torch.inference_mode():
            batch = self._processor(
                images=list(images), text=[self._chat(prompt) for prompt in prompts], padding=True, return_tensors="pt"
            ).to(self._device)
            if "pixel_values" in batch:
                batch["pixel_values"] = batch["pixel_values"].to(self._model.dtype)
            tokens = self._model.generate(**batch, max_new_tokens=self._max_new_tokens, do_sample=False, num_beams=1)
        answers = tokens[:, batch["input_ids"].shape[1] :]
        self.usage.add(forwards=1, images_encoded=len(images))
        return [text.strip() for text in self._processor.batch_decode(answers, skip_special_tokens=True)]

    def _chat(self, prompt: str) -> str:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        return str(self._processor.apply_chat_template([turn], add_generation_prompt=True))
