"""Captions by any vision-language model that transformers loads as an image-text-to-text model with a chat template.

Reads weights from a local directory, a hub id, or the embedded teachers. Knows nothing of Ray or of the store.
"""

from collections.abc import Sequence
from typing import Any, Literal

from PIL import Image
from pydantic import Field

from orchestrator.captioners.constant import Captioner
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

    def build(self) -> Captioner:
        """The captioner: (images, prompts) -> captions, one each; batched, padded on the left, greedy."""
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        source = resolve_model(self.model)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options = {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
        processor = AutoProcessor.from_pretrained(source, **options)
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=getattr(torch, self.dtype),
            attn_implementation=self.attention,
            use_safetensors=True,
            **options,
        )
        model = model.to(device).eval()
        processor.tokenizer.padding_side = "left"

        def chat(prompt: str) -> str:
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
            return str(processor.apply_chat_template([turn], add_generation_prompt=True))

        @torch.inference_mode()
        def caption(images: Sequence[Image.Image], prompts: Sequence[str]) -> list[str]:
            batch = processor(
                images=list(images), text=[chat(prompt) for prompt in prompts], padding=True, return_tensors="pt"
            ).to(device)
            if "pixel_values" in batch:
                batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
            tokens = model.generate(**batch, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1)
            answers = tokens[:, batch["input_ids"].shape[1] :]
            return [text.strip() for text in processor.batch_decode(answers, skip_special_tokens=True)]

        return caption
