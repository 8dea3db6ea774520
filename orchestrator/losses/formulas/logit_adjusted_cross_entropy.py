"""Cross-entropy with logits shifted by the log prior of each class.

Holds the formula and its module, which remembers the prior. Reads and writes nothing. Knows nothing of the student.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, upcast


def logit_adjusted_cross_entropy(
    logits: Tensor, label: Tensor, log_prior: Tensor, *, tau: float = 1.0, class_weight: Tensor | None = None
) -> Tensor:
    """CE(z + tau * log prior, y), mean over the batch (Menon et al. 2021; VLM-KD, Eq. 1).

    logits [N, C], label [N] int64 in 0..C-1, log_prior [C] = log(n_c / sum n). With class_weight [C] the mean is
    weighted by the labels' weights. Returns a scalar >= 0 in float32 or better.
    """
    logits = upcast(logits)
    shifted = logits + tau * log_prior.to(logits.dtype) if tau else logits
    return F.cross_entropy(shifted, label, weight=None if class_weight is None else class_weight.to(logits.dtype))


class LogitAdjustedCrossEntropy(Loss):
    """The formula with the prior of the full training list, kept as a float64 buffer."""

    log_prior: Tensor

    def __init__(self, class_count: tuple[int, ...], *, tau: float = 1.0, prior_floor: float | None = None) -> None:
        super().__init__()
        count = torch.tensor(class_count, dtype=torch.float64)
        prior = count / count.sum()
        self.tau = tau
        self.register_buffer("log_prior", torch.log(prior if prior_floor is None else prior.clamp_min(prior_floor)))

    def forward(self, student_logits: Tensor, label: Tensor) -> Tensor:
        return logit_adjusted_cross_entropy(student_logits, label, self.log_prior, tau=self.tau)
