"""Random rows that are a pure function of a seed, a step and a row: the same whatever the order, device or workers.

Holds functions of integers. Reads and writes nothing. Knows nothing of losses.
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64 (Steele et al. 2014), as signed 64-bit integers that wrap around
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def scrambled(counter: Tensor) -> Tensor:
    """The SplitMix64 finaliser of int64 counters, element by element: int64 that look independent and uniform."""
    mixed = (counter ^ _shifted(counter, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    return mixed ^ _shifted(mixed, 31)


def draw_others(row: Tensor, step: Tensor, count: int, num_rows: int, *, seed: int) -> Tensor:
    """`count` rows for each row [N] (int64 in 0..num_rows - 1), uniform over the other rows, with replacement.

    step is an int64 scalar on the row's device. Returns [N, count] int64, never the row itself; num_rows in 2..2^31.
    """
    of_step = scrambled(scrambled(step + 1) + seed)
    of_row = scrambled(of_step + (row + 1) * _GOLDEN)
    k = torch.arange(1, count + 1, device=row.device)
    upper = _shifted(scrambled(of_row[:, None] + k * _GOLDEN), 32)
    drawn = (upper * (num_rows - 1)) >> 32  # scaled instead of a remainder, which is slow
    return drawn + (drawn >= row[:, None])


def _shifted(number: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (number >> bits) & (2 ** (64 - bits) - 1)
