"""Binary cross-entropies summed over the classes: plain, class-balanced, and with the log odds of the class prior.

Holds the formula and its module, which remembers log odds and class weights. Reads and writes nothing. Knows nothing of
the student.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.class_prior import (
    class_prior,
    effective_number_weight,
    label_distribution,
    smoothed,
)
from orchestrator.losses.formulas.loss import Loss, upcast, without_autocast


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    log_odds: Tensor | None = None,
    tau: float = 1.0,
    class_weight: Tensor | None = None,
    target_threshold: float | None = None,
) -> Tensor:
    """Sum over the classes of BCE(sigmoid(z + tau * log_odds), t), mean over the batch (LiVT; methods 3.3).

    logits [N, C]; target [N, C] in 0..1, made 1[t > target_threshold] where there is one; log_odds [C] = log prior -
    log(1 - prior) (Bal-BCE; without: BCE); class_weight [C] weighs the classes (CB-BCE). Returns a scalar >= 0 in
    float32 or better. LiVT writes C * mean over N x C, which is the same.
    """
    logits = upcast(logits)
    target = target.detach().to(logits.dtype)
    if target_threshold is not None:
        target = (target > target_threshold).to(logits.dtype)
    if log_odds is not None:
        logits = logits + tau * log_odds.to(logits.dtype)
    weight = None if class_weight is None else class_weight.to(logits.dtype)
    with without_autocast(logits):
        return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum") / len(logits)


class BinaryCrossEntropy(Loss):
    """The formula with log odds and class weights of the full training list, kept as float64 buffers.

    `tau` None leaves the log odds out; `class_balance_beta` None the weights.
    """

    log_odds: Tensor | None
    class_weight: Tensor | None

    def __init__(
        self,
        class_count: tuple[int, ...],
        *,
        tau: float | None = None,
        prior_floor: float | None = None,
        label_smoothing: float = 0.0,
        target_threshold: float | None = None,
        class_balance_beta: float | None = None,
    ) -> None:
        super().__init__()
        self.tau, self.label_smoothing, self.target_threshold = tau, label_smoothing, target_threshold
        beta = class_balance_beta
        odds = None if tau is None else torch.logit(class_prior(class_count, prior_floor))
        self.register_buffer("log_odds", odds)
        self.register_buffer("class_weight", None if beta is None else effective_number_weight(class_count, beta))

    def forward(self, student_logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
        logits = upcast(student_logits)
        distribution = label_distribution(label, logits.shape[1], target, logits.dtype)
        return binary_cross_entropy(
            logits,
            smoothed(distribution, self.label_smoothing),
            log_odds=self.log_odds,
            tau=1.0 if self.tau is None else self.tau,
            class_weight=self.class_weight,
            target_threshold=self.target_threshold,
        )
