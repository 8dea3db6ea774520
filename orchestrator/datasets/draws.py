"""Draws that depend on a seed and on names only, so that the order of files and other images change nothing.

Holds pure functions. Knows nothing of images.
"""

import hashlib
import math
from collections.abc import Iterable


def ranked(names: Iterable[str], key: str) -> list[str]:
    """The names in an order drawn by `key`; a subset of them keeps its order."""
    return sorted(names, key=lambda name: hashlib.blake2b(f"{key}/{name}".encode()).digest())


def floor_of(count: int, fraction: float) -> int:
    """floor(count * fraction) as on paper: 100 * 0.29 is 28.999999999999996 for a computer."""
    return math.floor(round(count * fraction, 9))


def ceil_of(count: int, fraction: float) -> int:
    """ceil(count * fraction) as on paper."""
    return math.ceil(round(count * fraction, 9))
