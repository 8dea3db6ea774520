"""What the losses on image-text similarities share: masked softmaxes, the learnt scale, the two towers' rows.

Holds pure functions on [N, N] similarity logits, the scale exp(s), and the base class of the loss modules that compare
images with texts. Reads and writes nothing. Knows nothing of any single loss of the family.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from orchestrator.losses.formulas.loss import Loss, Negatives, constant, joined, unit, upcast

EXCLUDED = -1e30  # logit of a pair that is no candidate: finite, so that a row without candidates gives no NaN
TextFrom = Literal["student", "teacher"]


def log_softmax_over(logits: Tensor, candidates: Tensor | None) -> Tensor:
    """Row-wise log-softmax [N, K] over the columns that are candidates (bool [K] or [N, K]; None = all)."""
    if candidates is not None:
        logits = logits.masked_fill(~candidates, EXCLUDED)
    return torch.log_softmax(logits, dim=1)


def mean_over(per_row: Tensor, present: Tensor | None) -> Tensor:
    """Mean of [N] values over the rows present (bool [N]; None = all); 0 with zero gradient when there is none."""
    if present is None:
        return per_row.mean()
    return torch.where(present, per_row, 0.0).sum() / present.sum().clamp_min(1)


def own_pair_cross_entropy(logits: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean of -log softmax(logits)_ii over the rows present; absent rows are no candidates either. logits [N, N]."""
    return -mean_over(log_softmax_over(logits, present).diagonal(), present)


def soft_cross_entropy(probability: Tensor, logits: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean over rows of -sum_j p_ij log softmax(logits)_ij, both [N, N]; p is 0 where a column is absent."""
    return -mean_over((probability * log_softmax_over(logits, present)).sum(dim=1), present)


def kl_divergence(
    teacher: Tensor, student: Tensor, present: Tensor | None = None, candidates: Tensor | None = None
) -> Tensor:
    """Mean over rows of KL(softmax(teacher) || softmax(student)), both logits [N, N]; the teacher's are constants.

    `candidates` (bool [N, N]) says which pairs take part; without it they are the columns present.
    """
    among = present if candidates is None else candidates
    wanted, got = log_softmax_over(teacher.detach(), among), log_softmax_over(student, among)
    return mean_over((wanted.exp() * (wanted - got)).sum(dim=1), present)


class LogitScale(nn.Module):
    """exp(s), learnt (one scalar, without weight decay) or fixed, clamped to at most `largest` after each step."""

    log_scale: Tensor

    def __init__(self, start: float = 1 / 0.07, *, learnable: bool = True, largest: float = 100.0) -> None:
        super().__init__()
        value = torch.tensor(math.log(start))
        if learnable:
            self.log_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_scale", value)
        self.learnable, self.largest_log_scale = learnable, math.log(largest)

    def forward(self) -> Tensor:
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring a learnt scale back to at most `largest`."""
        if self.learnable:
            self.log_scale.clamp_(max=self.largest_log_scale)


class SimilarityLoss(Loss):
    """Base of the losses on similarities of the student's images with texts: scale, rows of all workers, inputs.

    `text_from` says which texts the student's images are compared with: its own text side's (`student_text`), or, for
    a student with images only, the text teacher's (`text`). Subclasses name what else they need in `also_needs`.
    """

    also_needs: tuple[str, ...] = ()

    def __init__(self, *, text_from: TextFrom, scale: LogitScale, negatives: Negatives) -> None:
        super().__init__()
        self.text_from: TextFrom = text_from
        self.scale = scale
        self.negatives: Negatives = negatives
        self._parts: dict[str, Tensor] = {}

    def inputs(self) -> tuple[str, ...]:
        """The student's embedding, the texts it is compared with, and what the loss compares them to."""
        own = "student_text" if self.text_from == "student" else "text"
        return tuple(dict.fromkeys(("student_embedding", own, *self.also_needs)))

    def optional_inputs(self) -> tuple[str, ...]:
        """Text ids, which tell an image without a text (-1): it is left out as a row and as a column."""
        return ("text_id",)

    def of_student(self, rows: Tensor) -> Tensor:
        """The student's rows (last dimension) at length 1, float32 or better, of all workers where they are wanted."""
        return joined(unit(upcast(rows)), self.negatives)

    def of_teacher(self, rows: Tensor, like: Tensor) -> Tensor:
        """The teacher's rows as constants, of all workers where they are wanted."""
        return joined(constant(rows, like), self.negatives)

    def student_texts(self, like: Tensor, student_text: Tensor | None, text: Tensor | None) -> Tensor:
        """[M, Q, D] unit texts that the student's images are compared with; Q = 1 where it encodes the first only."""
        if self.text_from == "student":
            assert student_text is not None
            rows = self.of_student(student_text)
            return rows if rows.ndim == 3 else rows[:, None]
        assert text is not None
        return unit(self.of_teacher(text, like))

    def present(self, text_id: Tensor | None) -> Tensor | None:
        """[M, Q] whether an image has its text; None = every image has every text."""
        return None if text_id is None else joined(text_id, self.negatives) >= 0

    def observed(self) -> dict[str, Tensor]:
        return {"scale": self.scale().detach(), **self._parts}

    def after_step(self) -> None:
        self.scale.clamp()


def column(present: Tensor | None, q: int) -> Tensor | None:
    """Which images have text q, of what `SimilarityLoss.present` gives."""
    return None if present is None else present[:, q]
