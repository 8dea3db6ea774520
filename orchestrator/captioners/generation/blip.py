"""Captions by BLIP and BLIP-2, which continue a text instead of chatting; the image is encoded once for all prompts.

An answer is what follows the prompt. The models' own `generate` encodes every row's image and, for BLIP, takes the
first and last token of every row for frame tokens, which rows of different lengths do not have; so the decoder's is
called here. Knows nothing of stores or engines.
Source: Li et al., "BLIP", ICML 2022, and "BLIP-2", ICML 2023.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from orchestrator.captioners.generation.decoding import Decoding, pad_left, write_answers
from orchestrator.captioners.generation.loading import Weights
from orchestrator.captioners.generation.sharing import Sharing, sharing_of
from orchestrator.captioners.protocol import Usage
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

BLIP_TYPES = ("blip", "blip-2")


class Blip:
    """See `Generator`."""

    def __init__(
        self,
        weights: Weights,
        decoding: Decoding,
        usage: Usage,
        dtype: str,
        prompt_format: Literal["text_prefix", "none"],
    ) -> None:
        import torch

        self._weights, self._usage, self._dtype = weights, usage, getattr(torch, dtype)
        self._reads_prompts = prompt_format == "text_prefix"
        self._processor = weights.load_processor()
        self._tokenizer = self._processor.tokenizer
        self._model = weights.load_model()
        self._is_first = weights.model_type == "blip"
        self._text = self._model.config.text_config
        if self._is_first:
            self._decoder = self._model.text_decoder
            decoding.pin(self._decoder, eos_token_id=self._text.sep_token_id, pad_token_id=self._text.pad_token_id)
        else:
            self._decoder = self._model.language_model
            decoding.pin(self._decoder, pad_token_id=self._tokenizer.pad_token_id)
        self.sharing: Sharing = sharing_of(weights.model_type)

    def describe(self, images: Sequence[Image.Image], prompts: Sequence[Sequence[str]]) -> list[list[str]]:
        """See `Generator`."""
        owners = [owner for owner, asked in enumerate(prompts) for _ in asked]
        rows = [self._row(prompt if self._reads_prompts else "") for asked in prompts for prompt in asked]
        num_tokens = sum(map(len, rows))
        self._usage.add(images_encoded=len(images), prompt_tokens=num_tokens, prefill_tokens=num_tokens)
        pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self._model.device, self._dtype)
        ids, mask = pad_left(rows, self._tokenizer.pad_token_id, self._model.device)
        ask = self._ask_blip if self._is_first else self._ask_blip_2
        answers = iter(ask(pixels, owners, ids, mask))
        return [[next(answers) for _ in asked] for asked in prompts]

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Always refused."""
        raise ConfigError(
            f"model {self._weights.name}: a {self._weights.model_type} writes nothing without an image",
            expected="a language model, or a vision-language model with a chat template",
            remedy="name one for texts that are written about classes",
        )

    def _row(self, prompt: str) -> list[int]:
        if self._is_first:
            return [self._text.bos_token_id, *self._tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        if not prompt and self._text.bos_token_id is not None:
            return [self._text.bos_token_id]
        return list(self._tokenizer(prompt)["input_ids"])

    def _ask_blip(self, pixels: "Tensor", owners: Sequence[int], ids: "Tensor", mask: "Tensor") -> list[str]:
        seen = self._model.vision_model(pixel_values=pixels).last_hidden_state[list(owners)]
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "encoder_hidden_states": seen,
            "encoder_attention_mask": mask.new_ones(seen.shape[:2]),
        }
        return write_answers(
            self._decoder, self._processor.batch_decode, self._usage, given=ids.shape[1], inputs=inputs
        )

    def _ask_blip_2(self, pixels: "Tensor", owners: Sequence[int], ids: "Tensor", mask: "Tensor") -> list[str]:
        import torch

        queries = self._model.get_image_features(pixels, return_dict=True).pooler_output[list(owners)]
        words = self._model.get_input_embeddings()(ids)
        queries = queries.to(words.device, words.dtype)
        # The padding goes before the image: between image and words, T5's relative positions would count it.
        starts = (mask == 0).sum(dim=1).tolist()
        parts = [(word[:start], query, word[start:]) for word, query, start in zip(words, queries, starts, strict=True)]
        inputs = {
            "inputs_embeds": torch.stack([torch.cat(part) for part in parts]),
            "attention_mask": torch.cat([mask, mask.new_ones(queries.shape[:2])], dim=1),
        }
        given = int(self._decoder.config.is_encoder_decoder)  # such a decoder begins with its start token
        return write_answers(self._decoder, self._processor.batch_decode, self._usage, given=given, inputs=inputs)
