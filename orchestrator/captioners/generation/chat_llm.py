"""Texts by a language model with a chat template: class descriptions through the same back end as captions.

Knows nothing of images, which it refuses.
"""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from orchestrator.captioners.generation.decoding import Decoding, pad_left, write_answers
from orchestrator.captioners.generation.loading import Weights
from orchestrator.captioners.generation.sharing import Sharing
from orchestrator.captioners.protocol import Usage


def write_chats(
    model: Any, tokenizer: Any, usage: Usage, chats: Sequence[str], *, add_special_tokens: bool
) -> list[str]:
    """Answers to rendered chats without images: batched, padded on the left."""
    rows = tokenizer(list(chats), add_special_tokens=add_special_tokens)["input_ids"]
    ids, mask = pad_left(rows, tokenizer.pad_token_id, model.device)
    num_tokens = sum(map(len, rows))
    usage.add(prompt_tokens=num_tokens, prefill_tokens=num_tokens)
    inputs = {"input_ids": ids, "attention_mask": mask}
    return write_answers(model, tokenizer.batch_decode, usage, given=ids.shape[1], inputs=inputs)


class ChatLlm:
    """See `Generator`."""

    sharing: Sharing = "none"

    def __init__(self, weights: Weights, decoding: Decoding, usage: Usage) -> None:
        self._weights, self._usage = weights, usage
        self._tokenizer = weights.load_tokenizer()
        weights.need_chat_template(self._tokenizer)
        self._model = weights.load_model()
        decoding.pin(self._model, pad_token_id=self._tokenizer.pad_token_id)

    def describe(self, images: Sequence[Image.Image], prompts: Sequence[Sequence[str]]) -> list[list[str]]:
        """Always refused."""
        raise self._weights.cannot_see()

    def write(self, prompts: Sequence[str]) -> list[str]:
        """See `Generator`."""
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        chats = [self._tokenizer.apply_chat_template(t, add_generation_prompt=True, tokenize=False) for t in turns]
        return write_chats(self._model, self._tokenizer, self._usage, chats, add_special_tokens=False)
