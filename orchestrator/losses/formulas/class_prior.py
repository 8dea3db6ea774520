"""What losses for long-tailed data make of the class counts, and of labels that may be distributions.

Holds pure functions of counts [C], labels [N] and label distributions [N, C]. Reads and writes nothing. Knows nothing
of any single loss.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def class_prior(class_count: Sequence[int], floor: float | None = None) -> Tensor:
    """[C] float64 n_c / sum n, at least `floor`."""
    count = torch.as_tensor(class_count, dtype=torch.float64)
    prior = count / count.sum()
    return prior if floor is None else prior.clamp_min(floor)


def effective_number_weight(class_count: Sequence[int], beta: float) -> Tensor:
    """[C] float64 class weights proportional to (1 - beta) / (1 - beta^n_c), of sum C (Cui et al. 2019).

    beta in 0..1 (exclusive): 0 gives 1 everywhere, towards 1 they go to the inverse counts. A class without images
    has an infinite weight: refuse it before.
    """
    count = torch.as_tensor(class_count, dtype=torch.float64)
    weight = (1 - beta) / (1 - beta**count)
    return weight * len(weight) / weight.sum()


def label_distribution(label: Tensor, num_classes: int, target: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[N, C] the target where there is one (mixup), else the one-hot labels [N]; without gradient."""
    return (F.one_hot(label, num_classes) if target is None else target.detach()).to(dtype)


def smoothed(distribution: Tensor, label_smoothing: float) -> Tensor:
    """(1 - s) * t + s / C of label distributions [N, C]; smoothing of a mixture is the mixture of smoothed labels."""
    return (1 - label_smoothing) * distribution + label_smoothing / distribution.shape[1]
