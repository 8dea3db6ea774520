"""Reading of one oracle vector: its manifest, its arrays, and parameters that know which of them were read."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MATERIALS = os.environ.get("SHARED_MATERIALS") or Path(__file__).resolve().parents[3] / "shared"
FOLDER = Path(os.environ.get("ORACLE_VECTORS") or Path(MATERIALS) / "vectors")


class Parameters(Mapping[str, Any]):
    """The manifest's parameters; what an adapter leaves unread is a parameter it does not honour."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self.unread = set(values)

    def __getitem__(self, name: str) -> Any:
        self.unread.discard(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def sizes(self, **named: int) -> None:
        """Read parameters that only tell a size, and check each against the arrays: `sizes(N=len(logits))`."""
        for name, size in named.items():
            assert self[name] == size, f"parameter {name} is {self[name]}, the arrays say {size}"


Inputs = dict[str, Tensor]  # keys without their `in_`
Outputs = dict[str, Any]  # keys without their `out_`
Adapter = Callable[[Inputs, Parameters], Outputs]


def manifest_of(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The manifest of a vector."""
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def arrays_of(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """The stored arrays, with their `in_` and `out_`."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays}


def inputs_of(arrays: Mapping[str, Tensor], dtype: torch.dtype) -> Inputs:
    """Fresh inputs in this number format; an adapter may change them."""
    return {
        key.removeprefix("in_"): tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        for key, tensor in arrays.items()
        if key.startswith("in_")
    }


def names() -> list[str]:
    """Every vector in the folder that has a manifest."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.name != "INDEX.json")
