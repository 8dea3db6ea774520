"""Random numbers as functions of (data seed, image, view), or (data seed, pass): without state and without order.

Reads and writes nothing. Knows nothing of what is drawn. Source: methods 16.8.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def image_keys(image_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """A 64-bit key of each image id."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in image_ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def uniform_draws(keys: npt.NDArray[np.uint64], data_seed: int, view: int, draw: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each key: a counter-based hash (SplitMix64), so no state and no order."""
    with np.errstate(over="ignore"):
        stream = _mix(np.array([data_seed, view, draw], np.uint64) * _GOLDEN + _GOLDEN)
        mixed = _mix(_mix(_mix(keys ^ stream[0]) + stream[1]) ^ stream[2])
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def permutation(num_images: int, data_seed: int, pass_index: int) -> Indices:
    """A permutation of range(num_images)."""
    generator = np.random.Generator(np.random.Philox(key=[data_seed, pass_index]))
    return generator.permutation(num_images).astype(np.int64)
