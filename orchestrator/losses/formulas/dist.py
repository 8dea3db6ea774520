"""DIST: the student's class probabilities correlate with the teacher's, by image and by class.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the teacher's origin.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, Negatives, constant, joined, upcast

PEARSON_EPSILON = 1e-8  # floor of the lengths; a row without deviation has correlation 0
_log = logging.getLogger(__name__)


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of the rows of two [R, K] tensors, [R] in -1..1."""
    first, second = (one - one.mean(dim=1, keepdim=True) for one in (first, second))
    return F.cosine_similarity(first, second, dim=1, eps=PEARSON_EPSILON)


def dist_parts(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """tau^2 * (1 - mean correlation) over images, and over classes, of softened probabilities (Huang et al. 2022).

    Both logits [N, C]. Scalars in 0..2 tau^2; the second is 0 with zero gradient where N < 2, since one image has no
    correlation along the batch. In float32 or better; no gradient into the teacher.
    """
    student = torch.softmax(upcast(student_logits) / temperature, dim=1)
    teacher = torch.softmax(constant(teacher_logits, student_logits) / temperature, dim=1)
    by_image = temperature**2 * (1 - pearson(student, teacher).mean())
    by_class = temperature**2 * (1 - pearson(student.T, teacher.T).mean()) if len(student) > 1 else 0 * student.sum()
    return by_image, by_class


class Dist(Loss):
    """inter_weight * the part over images + intra_weight * the part over classes (its beta and gamma)."""

    _warned = False

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        negatives: Negatives = "global",
    ) -> None:
        super().__init__()
        self.temperature, self.inter_weight, self.intra_weight = temperature, inter_weight, intra_weight
        self.negatives: Negatives = negatives
        self._parts: dict[str, Tensor] = {}

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        student, teacher = (joined(logits, self.negatives) for logits in (student_logits, teacher_logits))
        if len(student) < 2 and not self._warned:
            _log.warning("dist: a batch of one row has no correlation along the batch; that part is 0")
            self._warned = True
        by_image, by_class = dist_parts(student, teacher, temperature=self.temperature)
        self._parts = {"by_image": by_image.detach(), "by_class": by_class.detach()}
        return self.inter_weight * by_image + self.intra_weight * by_class

    def observed(self) -> dict[str, Tensor]:
        return dict(self._parts)
