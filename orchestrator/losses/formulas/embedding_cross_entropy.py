"""L_cls of the OOD paper, and its hinge version: the student's embedding against the class texts.

Holds the formulas and their modules. Reads and writes nothing. Knows nothing of the teacher that made the texts.
"""

import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.cosines import cosine_logits
from orchestrator.losses.formulas.loss import Loss
from orchestrator.vocabulary import CLASS_TEXT


def embedding_cross_entropy(
    student: Tensor,
    class_text: Tensor,
    label: Tensor,
    *,
    temperature: float = 0.07,
    target: Tensor | None = None,
    learnt_text: bool = False,
) -> Tensor:
    """CE(cosine / temperature, y), mean over the batch (Li et al., ICCV 2023, L_cls).

    student [N, D] and class_text [C, D], raw; label [N] int64 in 0..C-1, or target [N, C], a distribution that takes
    its place. Returns a scalar >= 0 in float32 or better; no gradient into the texts unless
    `learnt_text` (methods 1.8).
    """
    logits = cosine_logits(student, class_text, temperature, learnt=learnt_text)
    return F.cross_entropy(logits, label if target is None else target.to(logits.dtype))


def text_hinge(
    student: Tensor, class_text: Tensor, label: Tensor, *, margin: float = 0.2, learnt_text: bool = False
) -> Tensor:
    """Sum over all classes c, the label y too, of max(0, cosine_c - cosine_y + margin), mean over the batch.

    student [N, D] and class_text [C, D], raw; label [N] int64. Returns a scalar >= margin in float32 or better; no
    gradient into the texts unless `learnt_text`.
    """
    cosine = cosine_logits(student, class_text, learnt=learnt_text)
    return (cosine - cosine.gather(1, label[:, None]) + margin).clamp_min(0).sum(dim=1).mean()


class EmbeddingCrossEntropy(Loss):
    """The formula with its fixed temperature; a mixed batch's target takes the label's place."""

    can_learn = frozenset({CLASS_TEXT})

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self, student_embedding: Tensor, class_text: Tensor, label: Tensor, target: Tensor | None = None
    ) -> Tensor:
        return embedding_cross_entropy(
            student_embedding,
            class_text,
            label,
            temperature=self.temperature,
            target=target,
            learnt_text=CLASS_TEXT in self.learnt,
        )


class TextHinge(Loss):
    """The formula with its margin."""

    can_learn = frozenset({CLASS_TEXT})

    def __init__(self, *, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, student_embedding: Tensor, class_text: Tensor, label: Tensor) -> Tensor:
        return text_hinge(
            student_embedding, class_text, label, margin=self.margin, learnt_text=CLASS_TEXT in self.learnt
        )
