"""One row of the parity board: a function of ours, a peer's, their random inputs, and how they are compared.

Holds the row and the comparison. Reads and writes nothing. Knows nothing of any library.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = dict[str, Tensor]
Formula = Callable[..., Tensor]
Draw = Callable[[torch.Generator], Inputs]


@dataclass(frozen=True)
class Row:
    """A pair of functions that must agree on any input.

    Attributes:
        ours: our function, with the switches that reproduce the peer.
        peer: the peer's name of it.
        package: distribution that the peer comes from.
        draw: random inputs by name, in float64.
        call_ours, call_peer: scalar of these inputs, given by name.
        trained: inputs whose gradients are compared.
        tolerance: largest relative difference of value and gradients.
    """

    ours: str
    peer: str
    package: str
    draw: Draw
    call_ours: Formula
    call_peer: Formula
    trained: tuple[str, ...] = ("student",)
    tolerance: float = 1e-9

    @property
    def name(self) -> str:
        """What a test or a message calls it."""
        return f"{self.ours} = {self.package} {self.peer}"

    def version(self) -> str | None:
        """The peer's installed version; None where it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Difference:
    """Largest differences of value and gradients: absolute, and relative to the peer's largest one; NaN is infinite."""

    value: float
    value_relative: float
    gradient: float
    gradient_relative: float

    def within(self, tolerance: float) -> bool:
        """Whether both agree, relatively."""
        return self.value_relative <= tolerance and self.gradient_relative <= tolerance

    def worst(self, other: "Difference") -> "Difference":
        """The larger of each."""
        return Difference(
            max(self.value, other.value),
            max(self.value_relative, other.value_relative),
            max(self.gradient, other.gradient),
            max(self.gradient_relative, other.gradient_relative),
        )


def compare(row: Row, generator: torch.Generator) -> Difference:
    """Both functions on one fresh draw of inputs."""
    inputs = row.draw(generator)
    (value, gradients), (other_value, other_gradients) = (
        _evaluated(call, inputs, row.trained) for call in (row.call_ours, row.call_peer)
    )
    pairs = [_differences(gradients[name], other_gradients[name]) for name in row.trained]
    return Difference(
        *_differences(value, other_value),
        max(absolute for absolute, _ in pairs),
        max(relative for _, relative in pairs),
    )


def _evaluated(call: Formula, inputs: Inputs, trained: tuple[str, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
    own = {name: tensor.clone() for name, tensor in inputs.items()}
    leaves = [own[name].requires_grad_() for name in trained]
    value = call(**own)
    return value.detach(), dict(zip(trained, torch.autograd.grad(value, leaves), strict=True))


def _differences(ours: Tensor, peers: Tensor) -> tuple[float, float]:
    absolute = (ours.double() - peers.double()).abs().nan_to_num(nan=torch.inf).max().item()
    return absolute, absolute / max(peers.abs().max().item(), torch.finfo(torch.float64).tiny)


def normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """A maker of standard normal float64 tensors."""
    return lambda generator: torch.randn(shape, generator=generator, dtype=torch.float64)


def integers(below: int, *shape: int) -> Callable[[torch.Generator], Tensor]:
    """A maker of uniform int64 tensors."""
    return lambda generator: torch.randint(below, shape, generator=generator)


def draws(**makers: Callable[[torch.Generator], Tensor]) -> Draw:
    """Inputs by name, drawn in this order."""
    return lambda generator: {name: make(generator) for name, make in makers.items()}
