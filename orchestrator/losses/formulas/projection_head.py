"""What contrastive losses put on the student's feature: a small MLP, and a copy of it that follows slowly.

Holds the network, a BatchNorm that survives a batch of one, and the momentum copy. Reads and writes nothing. Knows
nothing of any single loss.
"""

import copy
import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.losses.formulas.loss import unit, upcast, without_autocast

_log = logging.getLogger(__name__)

# The reason that a loss with batch norm in its head gives for the exemption "two_workers".
OWN_STATISTICS = "batch norm in the head normalises each worker's rows by their own statistics (head_batch_norm)"


@dataclass(frozen=True)
class HeadShape:
    """depth x [Linear, BatchNorm, ReLU], then Linear: feature_dim -> hidden_dim (None: feature_dim) -> dim."""

    feature_dim: int
    dim: int
    depth: int = 1
    hidden_dim: int | None = None
    batch_norm: bool = True

    @property
    def couples_rows(self) -> bool:
        """Whether batch statistics make a row's output depend on the other rows."""
        return self.batch_norm and self.depth > 0


class ProjectionHead(nn.Module):
    """feature [..., d] -> unit vectors [..., dim]; PyTorch's default start values.

    All leading dimensions are rows of one batch to the batch norm; a training batch of a single row, which has no
    variance, is normalised by the running statistics, with a warning. Computes in float32 or better, whatever autocast
    says.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, hidden = shape.feature_dim, shape.hidden_dim or shape.feature_dim
        for _ in range(shape.depth):
            layers.append(nn.Linear(width, hidden))
            layers += [_BatchNorm(hidden)] if shape.batch_norm else []
            layers.append(nn.ReLU())
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, shape.dim))

    def forward(self, feature: Tensor) -> Tensor:
        with without_autocast(feature):
            rows: Tensor = self.layers(upcast(feature).flatten(0, -2))
            return unit(rows).reshape(*feature.shape[:-1], -1)


class _BatchNorm(nn.BatchNorm1d):
    _warned = False

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) > 1:
            return super().forward(input)
        if not self._warned:
            _log.warning("projection head: a training batch of one row; batch norm uses its running statistics for it")
            self._warned = True
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy without parameters: its weights are buffers of the same names, so no optimizer and no DDP touches them."""
    copied = copy.deepcopy(module)
    for one in copied.modules():
        for name, parameter in list(one.named_parameters(recurse=False)):
            delattr(one, name)
            one.register_buffer(name, parameter.detach().clone())
    return copied


@torch.no_grad()
def follow(copied: Tensor, online: Tensor, momentum: float) -> None:
    """copied <- momentum * copied + (1 - momentum) * online, in place (He et al. 2020, Eq. 2)."""
    copied.mul_(momentum).add_(online.detach(), alpha=1 - momentum)


def follow_module(copied: nn.Module, online: nn.Module, momentum: float) -> None:
    """`follow` for every parameter of `online`; the copy keeps batch statistics of its own."""
    buffers = dict(copied.named_buffers())
    for name, parameter in online.named_parameters():
        follow(buffers[name], parameter, momentum)
