"""A text tower with gradient: what prompt learning differentiates through, and what text tuning trains.

The text side of a CLIP or BLIP on its own, run by the library's own forward pass. Imported by `build` functions and by
training only, because it imports torch. Knows nothing of losses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from orchestrator.errors import ConfigError

PLACEHOLDERS = ("x", "a", "the", "photo")  # words of which one is a single token in every known vocabulary


@dataclass(frozen=True)
class Tokens:
    """Texts as a tower reads them: ids [n, T] int64, padded on the right, and the length [n] of each."""

    ids: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: Tensor | slice, device: torch.device) -> "Tokens":
        """Some of the texts, on a device."""
        return Tokens(self.ids[rows].to(device, torch.int64), self.length[rows].to(device))


class TextTower(nn.Module):
    """Tokens of n texts -> unit embeddings [n, e], float32.

    It stays in evaluation mode (no dropout), so that a text has one embedding at each step.

    Args:
        network: the modules of the text side.
        encode: (network, ids [n, T], mask [n, T] of what is no padding) -> embeddings, normalised or not.
        embedding: the network's table of token embeddings.
        tokenize: texts -> tokens, cut at the context length.
        count: texts -> tokens of each with those that frame it, uncut.
    """

    def __init__(
        self,
        network: nn.Module,
        encode: Callable[[nn.Module, Tensor, Tensor], Tensor],
        embedding: nn.Module,
        *,
        tokenize: Callable[[list[str]], Tokens],
        count: Callable[[list[str]], list[int]],
    ) -> None:
        super().__init__()
        self.network = network
        self._encode, self._embedding = encode, (embedding,)  # in a tuple: the network holds it already
        self._tokenize, self._count = tokenize, count
        self.eval()

    def train(self, mode: bool = True) -> "TextTower":
        """Evaluation mode, whatever is asked for; see the class."""
        return super().train(False)

    @property
    def width(self) -> int:
        """Of a token's embedding."""
        table: Any = self._embedding[0]
        return int(table.weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.parameters()).device

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Texts as tokens; longer ones are cut at the context length."""
        return self._tokenize(list(texts))

    def tokenize_after_context(self, texts: Sequence[str], num_context: int) -> tuple[Tokens, int]:
        """Texts with room for `num_context` vectors before their first word, and the position of the first vector.

        The room is made of words of one token each, tokenised together with the text, as CoOp does; so a text begins
        as it does in mid-sentence.

        Raises:
            ConfigError: the tokenizer knows no such word.
        """
        (frame,) = self._count([""])
        start = 1 if frame > 1 else 0  # behind the start token, where the tower has one
        for word in PLACEHOLDERS:
            room = " ".join([word] * num_context)
            if self._count([room]) != [frame + num_context]:
                continue
            tokens = self.tokenize([f"{room} {text}" for text in texts])
            begins = tokens.ids[:, : start + num_context]
            if begins.shape[1] == start + num_context and bool((begins == begins[:1]).all()):
                return tokens, start
        raise ConfigError(
            f"class_prompt: the tokenizer leaves no room for {num_context} context vectors",
            expected=f"one of the words {', '.join(PLACEHOLDERS)} as one token, and a context length above that",
            remedy="lower class_prompt.num_context, or name another image_teacher",
        )

    def forward(self, tokens: Tokens, context: Tensor | None = None, start: int = 0) -> Tensor:
        """Unit embeddings [n, e] with gradient to the weights and to `context`.

        Args:
            context: [k, width], put in place of the token embeddings at positions start .. start + k - 1; positions
                are added to it as to any token's.
        """
        mask = (torch.arange(tokens.ids.shape[1], device=tokens.ids.device) < tokens.length[:, None]).long()
        with _in_place(self._embedding[0], context, start):
            return normalize(self._encode(self.network, tokens.ids, mask).float(), dim=-1)


@contextmanager
def _in_place(embedding: nn.Module, context: Tensor | None, start: int) -> Iterator[None]:
    """Within it the table of embeddings gives `context` at its positions."""
    if context is None:
        yield
        return
    given, end = context, start + len(context)

    def replace(_module: nn.Module, _args: Any, found: Tensor) -> Tensor:
        shared = given.to(found.dtype).expand(len(found), -1, -1)
        return torch.cat([found[:, :start], shared, found[:, end:]], dim=1)

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def open_clip_text_tower(name: str, model: Any, tokenizer: Any, count: Callable[[list[str]], list[int]]) -> TextTower:
    """The text side of an open_clip model.

    Raises:
        ConfigError: it is of no kind whose text side is known.
    """

    def tokenize(texts: list[str]) -> Tokens:
        ids = tokenizer(texts)
        return Tokens(ids, torch.full((len(ids),), ids.shape[1]))  # open_clip finds padding itself

    kind = type(model).__name__
    if kind == "CLIP":
        model.visual = nn.Identity()
        for scale in (model.logit_scale, model.logit_bias):
            if scale is not None:
                scale.requires_grad_(False)
        return TextTower(model, _encode_text, model.token_embedding, tokenize=tokenize, count=count)
    network: Any = getattr(model, "text", None)
    if kind == "CustomTextCLIP" and hasattr(network, "token_embedding"):
        table = network.token_embedding
        return TextTower(network, lambda net, ids, _: net(ids), table, tokenize=tokenize, count=count)
    raise ConfigError(
        f"model {name}: the text tower of a {kind} ({type(network).__name__}) cannot be learnt through",
        expected="open_clip's CLIP or CustomTextCLIP with a text transformer of open_clip's own",
        remedy="name another model, or leave class_prompt and text_tuning out",
    )


def _encode_text(model: Any, ids: Tensor, _mask: Tensor) -> Tensor:
    found: Tensor = model.encode_text(ids)
    return found


def transformers_text_tower(model: Any, tokenizer: Any, limit: int) -> TextTower:
    """The text side of transformers' `CLIPModel`, `BlipModel` or `BlipForImageTextRetrieval`."""
    tokenizer.padding_side = "right"

    def tokenize(texts: list[str]) -> Tokens:
        made = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        return Tokens(made["input_ids"], made["attention_mask"].sum(1))

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]

    retrieval = hasattr(model, "text_proj")
    tower, projection = (
        (model.text_encoder, model.text_proj) if retrieval else (model.text_model, model.text_projection)
    )

    def encode(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        parts: Any = network
        passed = parts["tower"](input_ids=ids, attention_mask=mask)
        found: Tensor = parts["projection"](passed.last_hidden_state[:, 0] if retrieval else passed.pooler_output)
        return found

    network = nn.ModuleDict({"tower": tower, "projection": projection})
    unused = ("crossattention.", *(("pooler.",) if retrieval else ()))  # BLIP's: a text alone is embedded without them
    for name, parameter in tower.named_parameters():
        if any(part in name for part in unused):
            parameter.requires_grad_(False)
    return TextTower(network, encode, tower.get_input_embeddings(), tokenize=tokenize, count=count)
