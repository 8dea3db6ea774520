"""open_clip's contrastive losses."""

import torch
from torch import Tensor

from benchmarks.parity_rows.row import Row, draws, normal
from orchestrator.losses.formulas.loss import unit
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss

PACKAGE = "open_clip_torch"
N, D = 16, 12


def our_symmetric_contrastive(student: Tensor, text: Tensor, log_scale: Tensor) -> Tensor:
    """L_text of one text for each image, both ways."""
    return text_contrastive_loss(student, text[:, None], torch.arange(N)[:, None], log_scale.exp(), symmetric=True)


def their_clip(student: Tensor, text: Tensor, log_scale: Tensor) -> Tensor:
    """Its loss takes unit vectors."""
    from open_clip.loss import ClipLoss

    value: Tensor = ClipLoss()(unit(student), unit(text), log_scale.exp())
    return value


ROWS = [
    Row(
        "text_contrastive, symmetric: true",
        "ClipLoss",
        PACKAGE,
        draws(student=normal(N, D), text=lambda generator: unit(normal(N, D)(generator)), log_scale=normal()),
        our_symmetric_contrastive,
        their_clip,
        trained=("student", "log_scale"),
    ),
]
