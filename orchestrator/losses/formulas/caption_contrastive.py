"""L_cap of the OOD paper: an image picks its own caption among those of other classes.

Holds the formula and its module. Reads and writes nothing. Knows nothing of captioners.
"""

from typing import Literal

import torch
from torch import Tensor

from orchestrator.losses.formulas.cosines import MASKED, cosine_logits
from orchestrator.losses.formulas.loss import Loss, Negatives, joined, upcast


def caption_contrastive_loss(
    student: Tensor,
    caption: Tensor,
    label: Tensor,
    *,
    present: Tensor | None = None,
    temperature: float = 1.0,
    negatives: Negatives = "per_worker",
) -> Tensor:
    """Mean of -log softmax_j(cosine(student i, caption j) / temperature) at j = i (Li et al., ICCV 2023, L_cap).

    student, caption [N, D] raw; label [N] int64: captions of other images of the class are no candidates; present [N]
    bool (None = all): the others are dropped as row and as candidate. One class only, or fewer than two captions, gives
    0 with zero gradient. Returns a scalar >= 0 in float32 or better, the joint one where `negatives` are global.
    """
    if present is None:
        present = torch.ones_like(label, dtype=torch.bool)
    student, caption = joined(upcast(student), negatives), joined(caption.detach(), negatives)
    label, present = joined(label, negatives), joined(present.to(torch.uint8), negatives) > 0
    is_own = torch.eye(len(label), dtype=torch.bool, device=label.device)
    no_candidate = ((label[:, None] == label) & ~is_own) | ~present
    logits = cosine_logits(student, caption, temperature).masked_fill(no_candidate, MASKED)
    per_row = -logits.log_softmax(dim=1).diagonal()
    return (per_row * present).sum() / present.sum().clamp_min(1)


class CaptionContrastive(Loss):
    """The formula for the first text of each image, or summed over all Q texts."""

    def __init__(
        self, *, temperature: float = 1.0, texts: Literal["first", "all"] = "first", negatives: Negatives = "global"
    ) -> None:
        super().__init__()
        self.temperature, self.texts = temperature, texts
        self.negatives: Negatives = negatives

    def forward(self, student_embedding: Tensor, text: Tensor, text_id: Tensor, label: Tensor) -> Tensor:
        terms = [
            caption_contrastive_loss(
                student_embedding,
                text[:, q],
                label,
                present=text_id[:, q] >= 0,
                temperature=self.temperature,
                negatives=self.negatives,
            )
            for q in range(text.shape[1] if self.texts == "all" else 1)
        ]
        return torch.stack(terms).sum()
