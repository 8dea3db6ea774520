"""Captions by a plain transformers loop: one image and one prompt at a time, processor and `generate`, nothing else.

What the captioners are compared with; shares no code with them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from PIL import Image


class PlainLoop:
    """A directory's model, asked the way its documentation does it."""

    def __init__(
        self, folder: Path, *, attention: str | None = None, dtype: torch.dtype = torch.float32, **decoding: Any
    ):
        kind = hf.AutoConfig.from_pretrained(folder).model_type
        attention = attention or ("eager" if kind == "blip" else "sdpa")
        auto = hf.AutoModelForCausalLM if kind == "llama" else hf.AutoModelForImageTextToText
        self.model = auto.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()
        self.processor = (hf.AutoTokenizer if kind == "llama" else hf.AutoProcessor).from_pretrained(folder)
        self.decoding = {"do_sample": False, "max_new_tokens": 12, **decoding}
        self.is_blip = kind.startswith("blip")
        self.dtype = dtype

    def ask(self, image: Image.Image | None, prompt: str) -> str:
        """One answer."""
        inputs = self.inputs(image, prompt)
        tokens = self.model.generate(**inputs, **self.decoding)
        given = inputs["input_ids"].shape[1]
        if self.is_blip:
            given = self._given_by_blip(given)
        return str(self.processor.decode(tokens[0, given:], skip_special_tokens=True)).strip()

    def inputs(self, image: Image.Image | None, prompt: str) -> Any:
        """What the processor makes of an image and a prompt."""
        if self.is_blip:
            made = self.processor(images=image, text=prompt, return_tensors="pt")
        else:
            content: Any = [{"type": "image", "image": image}] if image is not None else []
            content.append({"type": "text", "text": prompt})
            if not hasattr(self.processor, "tokenizer"):
                content = prompt
            made = self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in made.items()}

    def _given_by_blip(self, prompt_tokens: int) -> int:
        if hasattr(self.model, "text_decoder"):
            return prompt_tokens - 1  # BLIP takes the closing <sep> away and returns the rest with the answer
        return 1 if self.model.language_model.config.is_encoder_decoder else prompt_tokens

    def ask_all(self, asked: Iterable[tuple[Image.Image | None, tuple[str, ...]]]) -> list[list[str]]:
        """Separate passes for every prompt of every image."""
        with torch.inference_mode():
            return [[self.ask(image, prompt) for prompt in prompts] for image, prompts in asked]
