"""LDAM: cross-entropy with a larger margin for rarer classes.

Holds the formula and its module, which remembers the margins. Reads and writes nothing. Knows nothing of the student.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.class_prior import label_distribution
from orchestrator.losses.formulas.loss import Loss, upcast


def ldam_margin(class_count: Sequence[int], max_margin: float) -> Tensor:
    """[C] float64 margins proportional to n_c^(-1/4); the rarest class has max_margin."""
    margin = torch.as_tensor(class_count, dtype=torch.float64) ** -0.25
    return max_margin * margin / margin.max()


def ldam(logits: Tensor, target: Tensor, margin: Tensor, *, scale: float) -> Tensor:
    """CE(scale * (z - t * margin), t), mean over the batch (Cao et al. 2019, Eq. 12-13).

    logits [N, C], target [N, C] a label distribution, margin [C]: of a hard label only the true logit is lowered, of a
    mixture each logit by its share of the margin. Returns a scalar >= 0 in float32 or better.
    """
    logits = upcast(logits)
    target = target.detach().to(logits.dtype)
    return F.cross_entropy(scale * (logits - target * margin.to(logits.dtype)), target)


class Ldam(Loss):
    """The formula with the margins of the full training list, kept as a float64 buffer."""

    margin: Tensor

    def __init__(self, class_count: tuple[int, ...], *, scale: float = 30.0, max_margin: float = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("margin", ldam_margin(class_count, max_margin), persistent=False)

    def forward(self, student_logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
        logits = upcast(student_logits)
        distribution = label_distribution(label, logits.shape[1], target, logits.dtype)
        return ldam(logits, distribution, self.margin, scale=self.scale)
