"""Asymmetric loss of several labels of an image, on probabilities from a positive and a negative prompt per class.

Holds the formulas and their module, which learns a bias of the probability. Reads and writes nothing. Knows nothing of
the prompts.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.losses.formulas.loss import Guarantee, Loss, upcast


def two_prompt_probability(logits: Tensor) -> Tensor:
    """[N, C] in 0..1: softmax over logits [2, N, C], those of the positive prompts first, of the negative second."""
    return torch.sigmoid(upcast(logits[0]) - upcast(logits[1]))


def asymmetric_loss(
    probability: Tensor,
    target: Tensor,
    bias: float | Tensor = 0.0,
    *,
    gamma_pos: float = 1.0,
    gamma_neg: float = 2.0,
    shift: float = 0.05,
    eps: float = 1e-8,
) -> Tensor:
    """-sum over classes of w * (y log p' + (1 - y) log n), mean over the batch.

    probability, target y [N, C] in 0..1; p' = clip(p + tanh(bias), 0, 1); n = min(1 - p' + shift, 1); logarithms are of
    at least eps; w = (1 - y p' - (1 - y) n) ** (gamma_pos y + gamma_neg (1 - y)), without gradient. Source: Ridnik et
    al., ICCV 2021, as used by the robotics experiment of Li et al., ICCV 2023, which adds the bias. Returns a scalar
    >= 0 in float32 or better.
    """
    probability = upcast(probability)
    target = target.to(probability.dtype)
    positive = (probability + torch.tanh(torch.as_tensor(bias))).clamp(0, 1)
    negative = (1 - positive + shift).clamp_max(1)
    with torch.no_grad():
        exponent = gamma_pos * target + gamma_neg * (1 - target)
        weight = (1 - target * positive - (1 - target) * negative).clamp_min(0) ** exponent
    log_likelihood = target * positive.clamp_min(eps).log() + (1 - target) * negative.clamp_min(eps).log()
    return -(weight * log_likelihood).sum(dim=1).mean()


def multi_label_prediction(probability: Tensor, bias: float | Tensor = 0.0, *, raw_bias: bool = False) -> Tensor:
    """[N, C] bool: p + tanh(bias) > 0.5; `raw_bias` leaves out the tanh, as the official code does at test time."""
    bias = torch.as_tensor(bias)
    return upcast(probability) + (bias if raw_bias else torch.tanh(bias)) > 0.5


class MultiLabelAsymmetric(Loss):
    """The formula of sigmoid(student_logits), with a learnt bias (a scalar that starts at 0) or none.

    A logit is the difference of its class's two prompts' logits, whose sigmoid is the softmax over the two.
    """

    exemptions: ClassVar[Mapping[Guarantee, str]] = {
        "gradient_check": "its focal weight carries no gradient, as in the official code"
    }

    def __init__(
        self,
        *,
        gamma_pos: float = 1.0,
        gamma_neg: float = 2.0,
        shift: float = 0.05,
        eps: float = 1e-8,
        learn_bias: bool = True,
    ) -> None:
        super().__init__()
        self.gamma_pos, self.gamma_neg, self.shift, self.eps = gamma_pos, gamma_neg, shift, eps
        self.bias = nn.Parameter(torch.zeros(())) if learn_bias else None

    def forward(self, student_logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
        """student_logits [N, C]; target [N, C] in 0..1, any number of classes of an image; without it label [N]."""
        return asymmetric_loss(
            torch.sigmoid(upcast(student_logits)),
            F.one_hot(label, student_logits.shape[1]) if target is None else target,
            0.0 if self.bias is None else self.bias,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            shift=self.shift,
            eps=self.eps,
        )

    def observed(self) -> dict[str, Tensor]:
        return {} if self.bias is None else {"bias": torch.tanh(self.bias.detach())}
