"""Corrections for class frequency that are made after training: to logits at test time, and to a classifier's weights.

Pure functions of tensors. Reads and writes nothing. Knows nothing of students or of how they were trained.
"""

import torch
from torch import Tensor

from orchestrator.errors import ConfigError


def prior_of(class_count: Tensor) -> Tensor:
    """Share of each class in the training list, [C] float64, of its numbers of images [C]."""
    count = class_count.double()
    return count / count.sum()


def adjust_logits(logits: Tensor, prior: Tensor, *, tau: float = 1.0) -> Tensor:
    """z - tau log prior: logits [N, C] of a plain cross-entropy for a balanced test set (Menon et al. 2021, Eq. 9).

    prior [C] > 0 of the training list. Not for logits of a logit-adjusted training, which are balanced already. Raises
    ConfigError for a class of prior 0 (unless tau is 0), whose logit would be infinite.
    """
    if tau == 0:
        return logits
    _require_positive(prior, "the training prior")
    return logits - tau * torch.log(prior.double()).to(logits.dtype)


def shift_prior(logits: Tensor, prior: Tensor, test_prior: Tensor) -> Tensor:
    """z + log test_prior - log prior: logits [N, C] that were right under one prior, for another (label shift).

    `prior` [C] > 0 is that of the training list for a plain cross-entropy; uniform for logits of a logit-adjusted
    training. test_prior [C] >= 0 sums to 1; a class of test prior 0 gets -inf and is never predicted. Raises
    ConfigError for priors that are none.
    """
    _require_positive(prior, "the training prior")
    if bool((test_prior < 0).any()) or abs(float(test_prior.double().sum()) - 1) > 1e-4:
        raise ConfigError(
            f"the test prior sums to {float(test_prior.double().sum()):.6g}, smallest {float(test_prior.min()):.6g}",
            expected="shares of the classes, 0 or more, that sum to 1",
        )
    return logits + (torch.log(test_prior.double()) - torch.log(prior.double())).to(logits.dtype)


def tau_normalize(weight: Tensor, *, tau: float) -> Tensor:
    """w_c / |w_c|^tau: a linear classifier's weight [C, d] with more equal lengths (Kang et al. 2020, Eq. 2).

    tau 0 changes nothing, tau 1 makes all rows unit. The method has no bias: use the result without one. A zero row
    stays zero.
    """
    length = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
    return weight / torch.where(length > 0, length, torch.ones_like(length)).pow(tau)


def _require_positive(prior: Tensor, what: str) -> None:
    absent = torch.nonzero(prior <= 0).flatten().tolist()
    if absent:
        raise ConfigError(
            f"{what} of {len(absent)} classes is 0 (labels {absent[:10]})",
            expected="at least one training image for each class",
            remedy="leave the classes out, or give their prior a floor such as 1e-9",
        )
