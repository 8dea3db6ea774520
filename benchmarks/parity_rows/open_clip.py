"""open_clip's contrastive losses."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.parity_rows.row import Row, draws, normal
from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss, siglip_loss
from orchestrator.losses.formulas.clip_distillation import clip_distillation_loss
from orchestrator.losses.formulas.loss import unit
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss

PACKAGE = "open_clip_torch"
N, D, D_TEACHER = 16, 12, 10
PAIR = draws(student=normal(N, D), text=normal(N, D), log_scale=normal(), bias=normal())
WITH_TEACHER = draws(
    student=normal(N, D),
    text=normal(N, D),
    log_scale=normal(),
    teacher=normal(N, D_TEACHER),
    teacher_text=normal(N, D_TEACHER),
)
TEACHER_SCALE = 20.0


def our_symmetric_contrastive(student: Tensor, text: Tensor, log_scale: Tensor) -> Tensor:
    """L_text of one text for each image, both ways."""
    return text_contrastive_loss(student, text[:, None], torch.arange(N)[:, None], log_scale.exp(), symmetric=True)


def their_clip(student: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Its loss takes unit vectors."""
    from open_clip.loss import ClipLoss

    value: Tensor = ClipLoss()(unit(student), unit(text), log_scale.exp())
    return value


def our_clip(student: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Of two towers, both of which learn."""
    return clip_contrastive_loss(unit(student), unit(text), log_scale.exp())


def our_siglip(student: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    """With its bias."""
    return siglip_loss(unit(student), unit(text), log_scale.exp(), bias)


def their_siglip(student: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Its loss takes unit vectors."""
    from open_clip.loss import SigLipLoss

    value: Tensor = SigLipLoss()(unit(student), unit(text), log_scale.exp(), bias)
    return value


def our_distillation(student: Tensor, text: Tensor, log_scale: Tensor, teacher: Tensor, teacher_text: Tensor) -> Tensor:
    """Both parts, weighed so that a swap would show."""
    image, texts, scale = unit(student), unit(text), log_scale.exp()
    distilled = clip_distillation_loss(image, texts, scale, unit(teacher), unit(teacher_text), [TEACHER_SCALE])
    return clip_contrastive_loss(image, texts, scale) + 2 * distilled


def their_distillation(
    student: Tensor, text: Tensor, log_scale: Tensor, teacher: Tensor, teacher_text: Tensor
) -> Tensor:
    """The same two parts, which it returns as a pair."""
    from open_clip.loss import DistillClipLoss

    own = (unit(student), unit(text), log_scale.exp())
    contrastive, distilled = DistillClipLoss()(*own, unit(teacher), unit(teacher_text), TEACHER_SCALE)
    value: Tensor = contrastive + 2 * distilled
    return value


def row(ours: str, peer: str, draw: Any, call_ours: Any, call_peer: Any, *trained: str) -> Row:
    """A row of this library; gradients of the student and of what is named."""
    return Row(ours, peer, PACKAGE, draw, call_ours, call_peer, trained=("student", "log_scale", *trained))


ROWS = [
    row(
        "text_contrastive, symmetric: true",
        "ClipLoss",
        draws(student=normal(N, D), text=lambda generator: unit(normal(N, D)(generator)), log_scale=normal()),
        our_symmetric_contrastive,
        their_clip,
    ),
    row("clip_contrastive", "ClipLoss", PAIR, our_clip, their_clip, "text"),
    row("siglip", "SigLipLoss", PAIR, our_siglip, their_siglip, "text", "bias"),
    row(
        "clip_distillation + clip_contrastive",
        "DistillClipLoss",
        WITH_TEACHER,
        our_distillation,
        their_distillation,
        "text",
    ),
]
