"""Cross-entropy with logits shifted by the log prior of each class.

Holds the formula and its module, which remembers prior and class weights. Reads and writes nothing. Knows nothing of
the student.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator import distributed
from orchestrator.losses.formulas.class_prior import class_prior, effective_number_weight
from orchestrator.losses.formulas.loss import Loss, upcast


def logit_adjusted_cross_entropy(
    logits: Tensor,
    label: Tensor,
    log_prior: Tensor,
    *,
    tau: float = 1.0,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """CE(z + tau * log prior, y), mean over the batch (Menon et al. 2021; VLM-KD, Eq. 1; Bal-CE, LS-CE of LiVT).

    logits [N, C], label [N] int64 in 0..C-1 or [N, C] a distribution (mixup), log_prior [C] = log(n_c / sum n).
    `label_smoothing` s makes the target (1 - s) * target + s / C. With class_weight [C] the mean is weighted by the
    labels' weights (CB-CE), over the rows of all workers. Returns a scalar >= 0 in float32 or better.
    """
    logits = upcast(logits)
    shifted = logits + tau * log_prior.to(logits.dtype) if tau else logits
    target = label.detach().to(logits.dtype) if label.is_floating_point() else label
    if class_weight is None:
        return F.cross_entropy(shifted, target, label_smoothing=label_smoothing)
    weight = class_weight.to(logits.dtype)
    per_row = F.cross_entropy(shifted, target, weight=weight, label_smoothing=label_smoothing, reduction="none")
    of_rows = (target * weight).sum() if label.is_floating_point() else weight[target].sum()
    return distributed.world_size() * per_row.sum() / distributed.sum_over_workers(of_rows)


class LogitAdjustedCrossEntropy(Loss):
    """The formula with prior and class weights of the full training list, kept as float64 buffers."""

    log_prior: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        class_count: tuple[int, ...],
        *,
        tau: float = 1.0,
        prior_floor: float | None = None,
        label_smoothing: float = 0.0,
        class_balance_beta: float | None = None,
    ) -> None:
        super().__init__()
        self.tau, self.label_smoothing = tau, label_smoothing
        # made of the settings, so no state: a training that begins with the state of another keeps its own
        self.register_buffer("log_prior", torch.log(class_prior(class_count, prior_floor)), persistent=False)
        weight = None if class_balance_beta is None else effective_number_weight(class_count, class_balance_beta)
        self.register_buffer("class_weight", weight, persistent=False)

    def forward(self, student_logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
        return logit_adjusted_cross_entropy(
            student_logits,
            label if target is None else target,
            self.log_prior,
            tau=self.tau,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
        )
