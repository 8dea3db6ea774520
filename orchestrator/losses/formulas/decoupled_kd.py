"""Decoupled knowledge distillation: the divergence on "the label or not", and that among the other classes.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the teacher's origin.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, upcast

_MASKED = -1e30  # the label's logit among the other classes: finite, so that a probability of 0 times it is 0


def decoupled_kd_parts(
    student_logits: Tensor, teacher_logits: Tensor, label: Tensor, *, temperature: float = 4.0
) -> tuple[Tensor, Tensor]:
    """T^2 * KL on (label, rest), and T^2 * KL among the classes other than the label, each [N] (Zhao et al. 2022).

    Both logits [N, C] with C >= 2, label [N] int64. In float32 or better; no gradient into the teacher.
    """
    is_label = F.one_hot(label, student_logits.shape[1]).bool()
    binary, others = [], []
    for logits in (upcast(student_logits), constant(teacher_logits, student_logits)):
        softened = logits / temperature
        log_probability = torch.log_softmax(softened, dim=1)
        rest = torch.logsumexp(log_probability.masked_fill(is_label, _MASKED), dim=1)
        binary.append(torch.stack([log_probability.gather(1, label[:, None])[:, 0], rest], dim=1))
        others.append(torch.log_softmax(softened.masked_fill(is_label, _MASKED), dim=1))
    target, non_target = (
        temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        for student, teacher in (binary, others)
    )
    return target, non_target


def decoupled_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    label: Tensor,
    *,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> Tensor:
    """target_weight * TCKD + non_target_weight * NCKD of `decoupled_kd_parts`, mean over the batch; a scalar >= 0."""
    target, non_target = decoupled_kd_parts(student_logits, teacher_logits, label, temperature=temperature)
    return (target_weight * target + non_target_weight * non_target).mean()


class DecoupledKD(Loss):
    """The formula; for mixed images the mean of its values at both images' labels, by their shares."""

    def __init__(self, *, temperature: float = 4.0, target_weight: float = 1.0, non_target_weight: float = 8.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.target_weight, self.non_target_weight = target_weight, non_target_weight
        self._parts: dict[str, Tensor] = {}

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        label: Tensor,
        mix_row: Tensor | None = None,
        mix_weight: Tensor | None = None,
    ) -> Tensor:
        target, non_target = decoupled_kd_parts(student_logits, teacher_logits, label, temperature=self.temperature)
        if mix_row is not None and mix_weight is not None:
            share = mix_weight.to(target.dtype)
            other = decoupled_kd_parts(student_logits, teacher_logits, label[mix_row], temperature=self.temperature)
            target = share * target + (1 - share) * other[0]
            non_target = share * non_target + (1 - share) * other[1]
        self._parts = {"target": target.detach().mean(), "non_target": non_target.detach().mean()}
        return (self.target_weight * target + self.non_target_weight * non_target).mean()

    def observed(self) -> dict[str, Tensor]:
        return dict(self._parts)
