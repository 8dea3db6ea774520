"""The CLIP loss and its sigmoid form SigLIP.

Holds both formulas and their modules, which learn scale and bias. Reads and writes nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.losses.formulas.loss import Negatives, without_autocast
from orchestrator.losses.formulas.similarity import (
    LogitScale,
    SimilarityLoss,
    TextFrom,
    column,
    own_pair_cross_entropy,
)


def clip_contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, present: Tensor | None = None) -> Tensor:
    """1/2 [CE(s I X^T, i) + CE(s X I^T, i)], means over the images with a text (Radford et al. 2021, figure 3).

    image, text [N, D] unit rows; scale s > 0 (scalar, multiplies); present bool [N] (None = all): an image without a
    text is no row and no candidate. Fewer than two images give 0 with zero gradient. Returns a scalar >= 0.
    """
    with without_autocast(image):
        logits = scale * image @ text.T
        return (own_pair_cross_entropy(logits, present) + own_pair_cross_entropy(logits.T, present)) / 2


def siglip_loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, present: Tensor | None = None) -> Tensor:
    """Sum over pairs of softplus(-l_ij (s x_i . t_j + b)) / N, l = 1 for own pairs, else -1 (Zhai et al. 2023).

    image, text [N, D] unit rows; scale and bias scalars; present bool [N] (None = all): pairs with an absent row or
    column are left out, N counts the rows present. A single image keeps its own pair's term. Returns a scalar >= 0.
    """
    with without_autocast(image):
        logits = scale * image @ text.T + bias
        label = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
        per_pair = F.softplus(-label * logits)
        if present is None:
            return per_pair.sum() / len(logits)
        both = present[:, None] & present[None, :]
        return torch.where(both, per_pair, 0.0).sum() / present.sum().clamp_min(1)


class ClipContrastive(SimilarityLoss):
    """`clip_contrastive_loss` of the student's images with its own texts, or the text teacher's; learns the scale."""

    def __init__(self, *, scale: LogitScale, text_from: TextFrom = "student", negatives: Negatives = "global") -> None:
        super().__init__(text_from=text_from, scale=scale, negatives=negatives)

    def forward(
        self,
        student_embedding: Tensor,
        student_text: Tensor | None = None,
        text: Tensor | None = None,
        text_id: Tensor | None = None,
    ) -> Tensor:
        image = self.of_student(student_embedding)
        texts = self.student_texts(image, student_text, text)
        return clip_contrastive_loss(image, texts[:, 0], self.scale(), column(self.present(text_id), 0))


class SigLip(SimilarityLoss):
    """`siglip_loss`; learns the scale and the bias."""

    bias: Tensor

    def __init__(
        self,
        *,
        scale: LogitScale,
        bias: float = -10.0,
        text_from: TextFrom = "student",
        negatives: Negatives = "global",
    ) -> None:
        super().__init__(text_from=text_from, scale=scale, negatives=negatives)
        if scale.learnable:
            self.bias = nn.Parameter(torch.tensor(bias))
        else:
            self.register_buffer("bias", torch.tensor(bias))

    def forward(
        self,
        student_embedding: Tensor,
        student_text: Tensor | None = None,
        text: Tensor | None = None,
        text_id: Tensor | None = None,
    ) -> Tensor:
        image = self.of_student(student_embedding)
        texts = self.student_texts(image, student_text, text)
        return siglip_loss(image, texts[:, 0], self.scale(), self.bias, column(self.present(text_id), 0))

    def observed(self) -> dict[str, Tensor]:
        return {**super().observed(), "bias": self.bias.detach()}
