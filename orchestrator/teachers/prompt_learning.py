"""Prompt learning: class texts whose first words are learnt vectors (Zhou et al., CoOp, IJCV 2022; methods 1.8).

Imported by training only, because it imports torch. Knows nothing of losses or of how the tower was loaded.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from orchestrator.teachers.text_tower import TextTower, Tokens

EVALUATED_AT_ONCE = 256  # classes in a pass without gradient


class LearntClassText(nn.Module):
    """Class texts [C, e], unit, through a frozen text tower, with gradient into the context alone.

    The context [k, width] is shared by all classes and stands between the start token and the class's own words. The
    tower is no part of the module's state: it is a teacher, known by its settings.

    Args:
        tower: frozen here.
        prompts: the own words of every class, for example "dax."; seen classes first.
        num_trained: classes that training tells apart, the first ones.
        context: its start values.
        classes_per_pass: classes that go through the tower at once; activations are then made anew in the backward
            pass, so that memory is that of one pass. None: all at once.
    """

    def __init__(
        self,
        tower: TextTower,
        prompts: list[str],
        *,
        num_trained: int,
        context: Tensor,
        classes_per_pass: int | None = None,
    ) -> None:
        super().__init__()
        self._tower = (tower.requires_grad_(False),)  # in a tuple: neither saved nor moved as a part of this module
        self._tokens, self._start = tower.tokenize_after_context(prompts, len(context))
        self.num_trained, self.classes_per_pass = num_trained, classes_per_pass
        self.context = nn.Parameter(context.clone())

    def forward(self) -> Tensor:
        """Those of the trained classes, [num_trained, e]."""
        if self.classes_per_pass is None or self.classes_per_pass >= self.num_trained:
            return self._encoded(slice(0, self.num_trained), self.context)
        parts = [
            checkpoint(self._encoded, rows, self.context, use_reentrant=False)
            for rows in _slices(self.num_trained, self.classes_per_pass)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def of_all_classes(self) -> Tensor:
        """Those of all classes [C, e], unseen ones too, without gradient."""
        return torch.cat([self._encoded(rows, self.context) for rows in _slices(len(self._tokens), EVALUATED_AT_ONCE)])

    def _encoded(self, rows: slice, context: Tensor) -> Tensor:
        (tower,), device = self._tower, context.device
        if tower.device != device:
            tower.to(device)
        found: Tensor = tower(self._tokens.rows(rows, device), context, self._start)
        return found


class LiveText(nn.Module):
    """Ids of texts [N, Q] (-1 = missing) -> their embeddings [N, Q, e], unit, with gradient into the text tower.

    Fine-tuning of the text encoder (VLM-KD's ablation "-FT"; methods 2.6). Each text of a batch is embedded once.

    Args:
        tower: trained.
        texts: every text, by id.
    """

    def __init__(self, tower: TextTower, texts: list[str]) -> None:
        super().__init__()
        self.tower = tower
        tokens = tower.tokenize(texts)
        self._tokens = Tokens(tokens.ids.to(torch.int32), tokens.length)  # on the CPU; a batch's rows are moved

    def forward(self, text_id: Tensor) -> Tensor:
        """See the class."""
        unique, back = text_id.clamp_min(0).flatten().unique(return_inverse=True)
        found: Tensor = self.tower(self._tokens.rows(unique.cpu(), text_id.device))
        rows = found.index_select(0, back).unflatten(0, text_id.shape)
        return torch.where(text_id[..., None] >= 0, rows, 0.0)


def first_context(num_context: int, width: int, *, std: float, seed: int) -> Tensor:
    """Start values [num_context, width] of a context: normal around 0."""
    return torch.randn(num_context, width, generator=torch.Generator().manual_seed(seed)) * std


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
