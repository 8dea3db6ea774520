"""What every loss module is, and the numerics they share.

Holds the base class of the loss modules, and three functions that keep a formula at float32 or better. Reads and writes
nothing. Knows nothing of any single loss.
"""

import inspect
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

UNIT_EPSILON = 1e-12  # vectors shorter than this have no direction: unit(0) = 0 (methods, 0.1)


class Loss(nn.Module):
    """A loss: the parameter names of its `forward` are its declared inputs; `forward` returns a scalar."""

    def inputs(self) -> tuple[str, ...]:
        """Names of the batch inputs it needs, from the closed vocabulary."""
        return tuple(inspect.signature(self.forward).parameters)

    def observed(self) -> dict[str, Tensor]:
        """Detached scalars worth a curve, for example a learnt temperature."""
        return {}

    def after_step(self) -> None:
        """Called after each step of the optimizer, for example to clamp a learnt value."""


def upcast(tensor: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Autocast off on the tensor's device: matrix products inside keep the precision of their operands."""
    return torch.autocast(tensor.device.type, enabled=False)


def unit(tensor: Tensor) -> Tensor:
    """Rows (last dimension) at length 1; a zero row stays zero, with a bounded gradient."""
    length = torch.linalg.vector_norm(tensor, dim=-1, keepdim=True)
    return tensor / torch.where(length > UNIT_EPSILON, length, torch.ones_like(length))
