"""Unit vectors and the blockwise comparisons that every metric of embeddings is made of.

Holds pure functions. Reads and writes nothing. Knows nothing of metrics.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Vectors = Tensor | npt.NDArray[np.floating]
Labels = Tensor | npt.NDArray[np.integer]
BLOCK_ELEMENTS = 1 << 24  # of one block of similarities: 64 MiB in float32, whatever the number of images


def unit_vectors(vectors: Vectors, dtype: torch.dtype | None = None) -> Tensor:
    """Rows of unit length, [N, D]; a zero row stays zero (methods 0.1).

    Half precision is cast up to float32; float64 stays; `dtype` asks for one.
    """
    rows = _as_tensor(vectors)
    assert rows.ndim >= 2, "a matrix, one row for each image or text"
    rows = rows.to(dtype or torch.promote_types(rows.dtype, torch.float32))
    return functional.normalize(rows, dim=-1, eps=1e-12)


def as_labels(labels: Labels, like: Tensor) -> Tensor:
    """Labels as int64 [N] on the device of `like`."""
    return _as_tensor(labels).to(like.device, torch.int64)


def _as_tensor(values: Tensor | npt.NDArray[Any]) -> Tensor:
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()  # torch warns of memory that it must not write, which a mapped file is
    return torch.as_tensor(values).detach()


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of the rows of a matrix, each of at most BLOCK_ELEMENTS elements (at least one row)."""
    step = max(1, BLOCK_ELEMENTS // max(1, num_columns))
    return (slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step))


def tie_width(dtype: torch.dtype) -> float:
    """Cosines nearer than this are equal: the same two vectors differ by less in another place of a matrix product."""
    return 8 * torch.finfo(dtype).eps


def mask_own(block: Tensor, first_row: int, value: float) -> Tensor:
    """Write `value` in place where a block's row and column are the same image, and return the block."""
    rows = torch.arange(len(block), device=block.device)
    block[rows, rows + first_row] = value
    return block
