"""What every loss module is, and the numerics they share.

Holds the base class of the loss modules, and functions that keep a formula at float32 or better, make vectors unit and
join the workers' rows. Reads and writes nothing. Knows nothing of any single loss.
"""

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from orchestrator import distributed

UNIT_EPSILON = 1e-12  # vectors shorter than this have no direction: unit(0) = 0 (methods, 0.1)
Negatives = Literal["global", "per_worker"]
Guarantee = Literal[
    "gradient_check", "extreme_values", "autocast", "permutation", "teacher_gradient", "batch_of_one", "two_workers"
]


class Loss(nn.Module):
    """A loss: the parameter names of its `forward` are its declared inputs; `forward` returns a scalar.

    A parameter whose default is None is an optional input: it is passed when the batch has it.

    Attributes:
        exemptions: guarantees of the contract suite that cannot hold for this loss, each with the reason.
        can_learn: inputs that it lets gradient into where the run learns them (class prompts, a tuned text tower); all
            others that no student makes are constants.
        learnt: those of them that this run learns.
        key_momentum: of the student's momentum copy, for losses that read `key_feature`; None for all others.
        skips_first_view: of `view_feature` it takes views 2 and later only, so that mixing view 1 is no matter to it.
    """

    exemptions: ClassVar[Mapping[Guarantee, str]] = {}
    can_learn: ClassVar[frozenset[str]] = frozenset()
    learnt: frozenset[str] = frozenset()
    key_momentum: float | None = None
    skips_first_view: bool = False

    def inputs(self) -> tuple[str, ...]:
        """Names of the batch inputs it needs, from the closed vocabulary."""
        return tuple(name for name, one in _parameters(self).items() if one.default is inspect.Parameter.empty)

    def optional_inputs(self) -> tuple[str, ...]:
        """Names of the batch inputs that it also takes, where the batch has them."""
        return tuple(name for name, one in _parameters(self).items() if one.default is not inspect.Parameter.empty)

    def observed(self) -> dict[str, Tensor]:
        """Detached scalars worth a curve, for example a learnt temperature."""
        return {}

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch (0-based), for example to renew class statistics."""

    def after_step(self) -> None:
        """Called after each step of the optimizer, for example to clamp a learnt value."""


def _parameters(loss: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(loss.forward).parameters


def upcast(tensor: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def constant(tensor: Tensor, like: Tensor) -> Tensor:
    """A teacher's tensor without gradient, in the number format of `like` (float32 or better)."""
    return tensor.detach().to(upcast(like).dtype)


def perhaps_learnt(tensor: Tensor, like: Tensor, *, learnt: bool) -> Tensor:
    """A teacher's tensor as `constant` gives it, or, where the run learns it, with its gradient."""
    return tensor.to(upcast(like).dtype) if learnt else constant(tensor, like)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Autocast off on the tensor's device: matrix products inside keep the precision of their operands."""
    return torch.autocast(tensor.device.type, enabled=False)


def unit(tensor: Tensor) -> Tensor:
    """Rows (last dimension) at length 1; a zero row stays zero, with a bounded gradient."""
    length = torch.linalg.vector_norm(tensor, dim=-1, keepdim=True)
    return tensor / length.masked_fill(length <= UNIT_EPSILON, 1.0)


def joined(tensor: Tensor, negatives: Negatives = "global") -> Tensor:
    """The rows of all workers in rank order where negatives are global, else the worker's own, [M, ...].

    A loss computed on joined rows alone is the joint loss on every worker: values are equal, and DDP's mean of the
    gradients is that of one process on the joined batch, because each worker's rows get the sum of the workers' shares.
    """
    return distributed.all_gather(tensor) if negatives == "global" else tensor
