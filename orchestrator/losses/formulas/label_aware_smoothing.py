"""Label-aware smoothing: more label smoothing for frequent classes, which a classifier is overconfident about.

Holds the formulas and the module, which remembers the smoothing of each class. Reads and writes nothing. Knows nothing
of the student.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from orchestrator.losses.formulas.class_prior import label_distribution
from orchestrator.losses.formulas.loss import Loss, upcast

Shape = Literal["concave", "linear", "convex"]


def smoothing_of_classes(class_count: Sequence[int], shape: Shape, *, head: float, tail: float) -> Tensor:
    """[C] float64 smoothing from `tail` (rarest class) to `head` (most frequent), a function of the class's count.

    With q = (n_c - n_min) / (n_max - n_min), in 0..1 (Zhong et al. 2021, Eq. 5; MiSLAS). On balanced data every class
    is a rarest one: q = 0.
    """
    count = torch.as_tensor(class_count, dtype=torch.float64)
    q = (count - count.min()) / (count.max() - count.min()).clamp_min(1)
    if shape == "concave":
        return tail + (head - tail) * torch.sin(q * math.pi / 2)
    if shape == "linear":
        return tail + (head - tail) * q
    return head + (head - tail) * torch.sin((1.5 + q / 2) * math.pi)


def label_aware_smoothing(logits: Tensor, target: Tensor, smoothing: Tensor) -> Tensor:
    """(1 - s_y) * CE(z, y) + s_y * mean_c(-log p_c), mean over the batch (Zhong et al. 2021; methods 3.3).

    logits [N, C], target [N, C] a label distribution, over whose classes the loss is averaged, smoothing [C] in 0..1.
    Returns a scalar >= 0 in float32 or better.
    """
    surprise = -torch.log_softmax(upcast(logits), dim=1)
    target = target.detach().to(surprise.dtype)
    share = target * smoothing.to(surprise.dtype)
    return (((target - share) * surprise).sum(dim=1) + share.sum(dim=1) * surprise.mean(dim=1)).mean()


class LabelAwareSmoothing(Loss):
    """The formula with the smoothing of each class by the full training list, kept as a float64 buffer."""

    smoothing: Tensor

    def __init__(
        self, class_count: tuple[int, ...], *, shape: Shape = "concave", head: float = 0.3, tail: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("smoothing", smoothing_of_classes(class_count, shape, head=head, tail=tail))

    def forward(self, student_logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
        logits = upcast(student_logits)
        distribution = label_distribution(label, logits.shape[1], target, logits.dtype)
        return label_aware_smoothing(logits, distribution, self.smoothing)
