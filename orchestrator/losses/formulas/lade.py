"""LADE: logits that estimate log p(x | y) - log p(x), free of the training list's prior.

Holds the formula and its module, which remembers the prior. Reads and writes nothing; the rows of other workers come
from `joined`. Knows nothing of the student.
"""

import math

import torch
from torch import Tensor

from orchestrator.losses.formulas.class_prior import class_prior
from orchestrator.losses.formulas.loss import Loss, Negatives, joined, upcast

_FLOOR = 1e-9  # added to a probability before its logarithm, as in the official code
_COUNT_FLOOR = 1e-8  # added to the count of a class in the batch


def lade(logits: Tensor, label: Tensor, prior: Tensor, *, remine_lambda: float = 0.1) -> Tensor:
    """-sum_c prior_c * (mean over the class's rows of z_c - b_c - remine_lambda * b_c^2) (Hong et al. 2021, LADER).

    b_c = log mean_i exp(z_ic - log prior_c + log 1/C): the regularised Donsker-Varadhan bound of each class, with rows
    weighed as if the classes were balanced. logits [N, C], label [N] int64, prior [C]. A class that is absent from the
    batch has no first term; its second still counts. Returns a scalar of either sign in float32 or better.
    """
    logits = upcast(logits)
    num_rows, num_classes = logits.shape
    prior = prior.to(logits.dtype)
    is_own = label[:, None] == torch.arange(num_classes, device=label.device)
    own = torch.where(is_own, logits, 0.0).sum(dim=0) / (is_own.sum(dim=0) + _COUNT_FLOOR)
    to_balanced = math.log(1 / num_classes + _FLOOR) - torch.log(prior + _FLOOR)
    bound = torch.logsumexp(logits + to_balanced, dim=0) - math.log(num_rows)
    return -(prior * (own - bound - remine_lambda * bound.square())).sum()


class Lade(Loss):
    """The formula on the rows of all workers or the worker's own, with the prior of the full training list."""

    prior: Tensor

    def __init__(
        self, class_count: tuple[int, ...], *, remine_lambda: float = 0.1, negatives: Negatives = "global"
    ) -> None:
        super().__init__()
        self.remine_lambda = remine_lambda
        self.negatives: Negatives = negatives
        self.register_buffer("prior", class_prior(class_count))

    def forward(self, student_logits: Tensor, label: Tensor) -> Tensor:
        logits, labels = joined(student_logits, self.negatives), joined(label, self.negatives)
        return lade(logits, labels, self.prior, remine_lambda=self.remine_lambda)
