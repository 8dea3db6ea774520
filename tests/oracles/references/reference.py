"""One reference: how a vector of its kind may be drawn, and what it stores; and what drawing and formulas share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Inputs = dict[str, Tensor]  # keys without their `in_`, float64 or integers
Parameters = Mapping[str, Any]
Outputs = dict[str, Any]  # keys without their `out_`
TOLERANCE = {"float64": {"rtol": 1e-7, "atol": 1e-9}, "float32": {"rtol": 1e-4, "atol": 1e-5}}


class Draw:
    """Random inputs and parameters of one vector; floats are representable in float32, as the shipped ones are."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(np.asarray(scale * self._random.standard_normal(shape), np.float32)).double()

    def unit(self, *shape: int) -> Tensor:
        return unit(self.normal(*shape)).float().double()

    def number(self, low: float, high: float) -> float:
        """A parameter, spread evenly on a logarithmic scale."""
        return float(np.exp(self._random.uniform(np.log(low), np.log(high))))

    def scalar(self, low: float, high: float) -> Tensor:
        return torch.tensor(self.number(low, high), dtype=torch.float32).double()

    def size(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.from_numpy(self._random.integers(0, below, shape))

    def permutation(self, size: int) -> Tensor:
        return torch.from_numpy(self._random.permutation(size))

    def pick(self, *choices: Any) -> Any:
        return choices[int(self._random.integers(len(choices)))]

    def counts(self, num_classes: int) -> Tensor:
        """A long tail in any order, its rarest class of at least one image."""
        return torch.from_numpy(np.ceil(np.exp(self._random.uniform(0, 6, num_classes))).astype(np.int64))

    def distributions(self, num_rows: int, num_classes: int) -> Tensor:
        """Mixed labels, as mixup makes them."""
        first, second = self.integers(num_classes, num_rows), self.integers(num_classes, num_rows)
        share = torch.from_numpy(self._random.random(num_rows).astype(np.float32)).double()[:, None]
        eye = torch.eye(num_classes, dtype=torch.float64)
        return (share * eye[first] + (1 - share) * eye[second]).float().double()


@dataclass(frozen=True)
class Reference:
    """What a kind of vector stores.

    Attributes:
        draw: inputs and parameters of a further vector.
        outputs: every output, of inputs and parameters.
        tolerance: of the comparison with the product, by number format.
    """

    draw: Callable[[Draw], tuple[Inputs, dict[str, Any]]]
    outputs: Callable[[Inputs, Parameters], Outputs]
    tolerance: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: TOLERANCE)


def unit(rows: Tensor) -> Tensor:
    """Rows at length 1; a zero row stays zero."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def log_softmax(logits: Tensor) -> Tensor:
    """Of the last dimension, written out."""
    shifted = logits - logits.detach().amax(dim=-1, keepdim=True)
    return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over rows of -log softmax at the label."""
    return torch.stack([-row[y] for row, y in zip(log_softmax(logits), label.tolist(), strict=True)]).mean()


def divergence(wanted: Tensor, given: Tensor) -> Tensor:
    """KL(softmax(wanted) || softmax(given)) of each row of logits."""
    first, second = log_softmax(wanted), log_softmax(given)
    return (first.exp() * (first - second)).sum(dim=-1)


def with_gradients(formula: Callable[..., Tensor], inputs: Inputs, *names: str, **renamed: str) -> Outputs:
    """The loss of these inputs and its gradients, stored as grad_NAME, or by another name."""
    leaves = [inputs[name].clone().requires_grad_() for name in names]
    loss = formula(*leaves)
    gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    stored = [renamed.get(name, f"grad_{name}") for name in names]
    return {"loss": loss.detach(), **dict(zip(stored, gradients, strict=True))}
