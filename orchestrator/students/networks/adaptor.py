"""The text adaptor: a small MLP that exists only during training.

Holds the network and a BatchNorm that survives a batch of one. Reads and writes nothing. Knows nothing of losses.
"""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_log = logging.getLogger(__name__)


class BatchNormOfSeveral(nn.BatchNorm1d):
    """BatchNorm1d that skips its batch statistics for a training batch of one row, which has no variance.

    Such a row is normalised with the running statistics, which stay as they are; the first time a warning is logged.
    """

    _warned = False

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) > 1:
            return super().forward(input)
        if not self._warned:
            _log.warning("adaptor: a training batch of one row; BatchNorm uses its running statistics for it")
            self._warned = True
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Adaptor(nn.Module):
    """feature [N, d] -> text prediction [N, e], not normalised (VLM-KD, section 2.3); PyTorch's default start."""

    def __init__(self, feature_dim: int, text_dim: int, *, depth: int = 1, hidden_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = feature_dim
        for _ in range(depth):
            layers += [nn.Linear(width, hidden_dim), BatchNormOfSeveral(hidden_dim), nn.ReLU()]
            width = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(width, text_dim))

    def forward(self, feature: Tensor) -> Tensor:
        prediction: Tensor = self.layers(feature)
        return prediction


class AdaptorPerPrompt(nn.Module):
    """feature [N, d] -> text predictions [N, Q, e], the q-th by an adaptor of its own (VLM-KD, "Separate")."""

    def __init__(self, adaptors: Sequence[Adaptor]) -> None:
        super().__init__()
        self.adaptors = nn.ModuleList(adaptors)

    def forward(self, feature: Tensor) -> Tensor:
        return torch.stack([adaptor(feature) for adaptor in self.adaptors], dim=1)
