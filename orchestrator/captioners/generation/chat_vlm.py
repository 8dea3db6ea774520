"""Captions by a vision-language model with a chat template; all prompts of an image share what its family allows.

The image is processed and encoded once, the common prefix of its prompts (chat frame and image tokens) goes through
the decoder once, and the cache is copied to every prompt's row, where the rest of the prompt and the answer follow.
Rows are [padding, prefix, padding, suffix]: padding is masked and takes no position, so answers are those of separate
passes. Knows nothing of stores or engines.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from orchestrator.captioners.generation.chat_llm import write_chats
from orchestrator.captioners.generation.decoding import Decoding, pad_left, write_answers
from orchestrator.captioners.generation.loading import Weights
from orchestrator.captioners.generation.sharing import Sharing, shared_lengths, sharing_of
from orchestrator.captioners.protocol import Usage
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class ChatVlm:
    """See `Generator`."""

    def __init__(self, weights: Weights, decoding: Decoding, usage: Usage, dtype: str) -> None:
        import torch

        self._weights, self._usage, self._num_beams = weights, usage, decoding.num_beams
        self._dtype = getattr(torch, dtype)
        self._processor = weights.load_processor()
        self._tokenizer = self._processor.tokenizer
        weights.need_chat_template(self._processor)
        self._model = weights.load_model()
        decoding.pin(self._model, pad_token_id=self._tokenizer.pad_token_id)
        # Many images are asked the same; rendering 160 prompts of 32 images anew took an eighth of their visits' time.
        self._chat = functools.lru_cache(maxsize=4096)(self._render)
        self.sharing: Sharing = sharing_of(weights.model_type)
        if self.sharing == "prefix" and not self._cache_is_plain():
            self.sharing = "image"

    def describe(self, images: Sequence[Image.Image], prompts: Sequence[Sequence[str]]) -> list[list[str]]:
        """See `Generator`."""
        chats = [self._chat(prompt, True) for asked in prompts for prompt in asked]
        owners = [owner for owner, asked in enumerate(prompts) for _ in asked]
        answers = iter(self._answer(images, chats, owners))
        return [[next(answers) for _ in asked] for asked in prompts]

    def write(self, prompts: Sequence[str]) -> list[str]:
        """See `Generator`: a chat without an image."""
        chats = [self._chat(prompt, False) for prompt in prompts]
        framed = self._adds_special_tokens(chats)
        return write_chats(self._model, self._tokenizer, self._usage, chats, add_special_tokens=framed)

    def _answer(self, images: Sequence[Image.Image], chats: Sequence[str], owners: Sequence[int]) -> list[str]:
        if self.sharing == "none" or len(chats) == len(images):
            return self._whole_rows([images[owner] for owner in owners], chats)
        firsts = [owners.index(owner) for owner in range(len(images))]
        batch = self._process(images, [chats[first] for first in firsts])
        rows = self._expanded_rows(batch, chats, owners)
        if rows is None:
            return self._whole_rows([images[owner] for owner in owners], chats)
        self._usage.add(prompt_tokens=sum(map(len, rows)), images_encoded=len(images))
        features = self._encode(batch)
        grids = batch.get("image_grid_thw")
        if self.sharing == "prefix":
            lengths = shared_lengths(rows, owners, self._processor.image_token_id)
            if lengths is not None:
                return self._with_shared_prefix(rows, owners, lengths, features, grids)
        ids, mask = pad_left(rows, self._tokenizer.pad_token_id, self._model.device)
        self._usage.add(prefill_tokens=sum(map(len, rows)))
        inputs = {
            "position_ids": self._positions(ids, mask, owners, grids),
            "mm_encoder_outputs": {"image": self._features_of(features, owners)},
        }
        return self._generate(ids, mask, inputs)

    def _with_shared_prefix(
        self, rows: Sequence[list[int]], owners: Sequence[int], lengths: Sequence[int], features: Any, grids: Any
    ) -> list[str]:
        import torch
        from transformers import DynamicCache

        pad, device = self._tokenizer.pad_token_id, self._model.device
        firsts = [owners.index(owner) for owner in range(len(lengths))]
        prefixes = [rows[first][:length] for first, length in zip(firsts, lengths, strict=True)]
        suffixes = [row[lengths[owner] :] for row, owner in zip(rows, owners, strict=True)]
        prefix_ids, prefix_mask = pad_left(prefixes, pad, device)
        suffix_ids, suffix_mask = pad_left(suffixes, pad, device)
        row_of = torch.tensor(owners)
        ids = torch.cat([prefix_ids[row_of], suffix_ids], dim=1)
        mask = torch.cat([prefix_mask[row_of], suffix_mask], dim=1)
        positions = self._positions(ids, mask, owners, grids)
        cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        self._model(
            input_ids=prefix_ids,
            attention_mask=prefix_mask,
            position_ids=positions[..., firsts, : prefix_ids.shape[1]],
            mm_encoder_outputs={"image": self._features_of(features, range(len(lengths)))},
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._usage.add(prefill_tokens=sum(lengths) + sum(map(len, suffixes)))
        cache.batch_select_indices(row_of.repeat_interleave(self._num_beams))
        return self._generate(ids, mask, {"position_ids": positions, "past_key_values": cache})

    def _generate(self, ids: "Tensor", mask: "Tensor", inputs: dict[str, Any]) -> list[str]:
        inputs = {"input_ids": ids, "attention_mask": mask, **inputs}
        return write_answers(self._model, self._processor.batch_decode, self._usage, given=ids.shape[1], inputs=inputs)

    def _whole_rows(self, images: Sequence[Image.Image], chats: Sequence[str]) -> list[str]:
        """Every row by itself, as the processor makes it; right for any family."""
        batch = self._process(images, chats)
        num_tokens = int(batch["attention_mask"].sum())
        self._usage.add(images_encoded=len(images), prompt_tokens=num_tokens, prefill_tokens=num_tokens)
        return self._generate(batch.pop("input_ids"), batch.pop("attention_mask"), dict(batch))

    def _render(self, prompt: str, with_image: bool) -> str:
        content = [{"type": "image"}] * with_image + [{"type": "text", "text": prompt}]
        turn = {"role": "user", "content": content}
        chat = str(self._processor.apply_chat_template([turn], add_generation_prompt=True))
        token = getattr(self._processor, "image_token", None)
        if token is not None and chat.count(token) != int(with_image):
            raise ConfigError(
                f"model {self._weights.name}: the chat of the prompt {prompt!r} holds {chat.count(token)} of {token}",
                expected="one place for the image, from the chat template and not from the prompt",
                remedy=f"take {token} out of prompts and class names, or correct the chat template",
            )
        return chat

    def _adds_special_tokens(self, chats: Sequence[str]) -> bool:
        """A template that begins with the beginning-of-text token brings its own frame."""
        begin = self._tokenizer.bos_token
        return begin is None or not chats[0].startswith(begin)

    def _process(self, images: Sequence[Image.Image], chats: Sequence[str]) -> Any:
        batch = self._processor(
            images=[[image] for image in images],  # some families' processors take a flat list for one row's images
            text=list(chats),
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special_tokens(chats),
        ).to(self._model.device)
        if "pixel_values" in batch:
            batch["pixel_values"] = batch["pixel_values"].to(self._dtype)
        return batch

    def _expanded_rows(self, batch: Any, chats: Sequence[str], owners: Sequence[int]) -> list[list[int]] | None:
        """Token ids of every row, its one image token repeated as often as the processor does for this image.

        None if the processor does something else than repeat it, as the first rows, which it made itself, tell.
        """
        made = [
            row[kept.bool()].tolist() for row, kept in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        token, number = self._processor.image_token, self._processor.image_token_id
        counts = [row.count(number) for row in made]
        texts = [chat.replace(token, token * counts[owner]) for chat, owner in zip(chats, owners, strict=True)]
        rows = self._tokenizer(texts, add_special_tokens=self._adds_special_tokens(chats))["input_ids"]
        firsts = [rows[owners.index(owner)] for owner in range(len(made))]
        return rows if firsts == made and all(counts) else None

    def _encode(self, batch: Any) -> Any:
        """The decoder's view of each image: [images, tokens, width], or a tensor [tokens, width] for each image."""
        encode = self._model.base_model.get_image_features
        inputs = {name: batch[name] for name in inspect.signature(encode).parameters if name in batch}
        return encode(**inputs, return_dict=True).pooler_output

    def _features_of(self, features: Any, owners: Sequence[int]) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        if isinstance(features, (list, tuple)):
            return BaseModelOutputWithPooling(pooler_output=[features[owner] for owner in owners])
        return BaseModelOutputWithPooling(pooler_output=features[list(owners)])

    def _positions(self, ids: "Tensor", mask: "Tensor", owners: Sequence[int], grids: Any) -> "Tensor":
        """Positions [rows, tokens] that skip padding; with M-RoPE [4, rows, tokens]: text, time, height, width."""
        import torch

        text = (mask.cumsum(dim=-1) - 1).clamp(min=0).masked_fill(mask == 0, 0)
        rope_index = getattr(self._model.base_model, "get_rope_index", None)
        if rope_index is None:
            return text
        is_image = (ids == self._processor.image_token_id).int()
        grids = grids[list(owners)]
        places, _ = rope_index(input_ids=ids, mm_token_type_ids=is_image, image_grid_thw=grids, attention_mask=mask)
        return torch.cat([text[None], places])

    def _cache_is_plain(self) -> bool:
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        return all(type(layer) is DynamicLayer for layer in cache.layers)
