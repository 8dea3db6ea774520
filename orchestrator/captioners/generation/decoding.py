"""Decoding that is said in the settings and nowhere else, the padding of rows, and the counting of what was used.

Knows transformers' `generate`. Knows nothing of images, chats or model families.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.captioners.protocol import Usage
from orchestrator.frozen import Frozen

if TYPE_CHECKING:
    from torch import Tensor

# What belongs to a vocabulary. Everything else in a model's generation_config.json (sampling, penalties, lengths) is
# somebody's default: Qwen2.5-VL's files, for one, hold a repetition penalty that `do_sample=False` would not remove.
_VOCABULARY_FIELDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
)


class Decoding(Frozen):
    """How tokens are chosen: the likeliest one, or beam search; never sampling."""

    max_new_tokens: int
    min_new_tokens: int
    num_beams: int

    def pin(self, model: Any, **token_ids: int | None) -> None:
        """Replace the generation settings that came with the weights; `token_ids` win over theirs."""
        from transformers import GenerationConfig

        theirs = model.generation_config
        kept = {name: getattr(theirs, name, None) for name in _VOCABULARY_FIELDS}
        kept |= {name: token for name, token in token_ids.items() if token is not None}
        model.generation_config = GenerationConfig(
            **{name: value for name, value in kept.items() if value is not None},
            do_sample=False,
            use_cache=True,
            num_beams=self.num_beams,
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
        )


def pad_left(rows: Sequence[Sequence[int]], pad: int, device: Any) -> "tuple[Tensor, Tensor]":
    """Token ids and mask [rows, longest], int64, each row at the right edge."""
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        if row:
            ids[at, -len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[at, -len(row) :] = 1
    return ids.to(device), mask.to(device)


def write_answers(
    model: Any, decode: Callable[..., Sequence[str]], usage: Usage, *, given: int, inputs: dict[str, Any]
) -> list[str]:
    """One call of `generate`: the decoded answers, stripped; counts the forward and the tokens of the answers.

    Args:
        model: what generates, with a pinned generation config.
        decode: `batch_decode` of its tokenizer.
        given: leading columns of the result that are not the answer.
    """
    import torch

    tokens = model.generate(**inputs)[:, given:]
    ends = model.generation_config.eos_token_id
    ends = torch.tensor([] if ends is None else ends, device=tokens.device, dtype=tokens.dtype).reshape(-1)
    after_end = torch.isin(tokens, ends).long().cumsum(dim=1).roll(1, dims=1)
    if tokens.shape[1]:
        after_end[:, 0] = 0
    usage.add(forwards=1, completion_tokens=int((after_end == 0).sum()))
    return [text.strip() for text in decode(tokens, skip_special_tokens=True)]
