"""Views of images: shift, flip, brightness and contrast drawn as a function of (data seed, image, view).

Reads and writes nothing. Knows nothing of files or labels. Source: methods 16.8.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.training.settings import ViewSettings

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
MEAN, STD = 0.5, 0.25  # of pixels scaled to 0..1; one pair for every data set keeps students comparable


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


def draw_views(
    pixels: npt.NDArray[np.uint8], keys: npt.NDArray[np.uint64], settings: ViewSettings, data_seed: int, view: int
) -> torch.Tensor:
    """Training views.

    Args:
        pixels: [N, S, S, 3] uint8.
        keys: [N] keys of the images.
        view: the view id; training uses the epoch.

    Returns:
        [N, 3, S, S] float32, scaled by (x / 255 - 0.5) / 0.25.
    """
    count, side = len(pixels), pixels.shape[1]
    span = 2 * settings.pad + 1
    shift_y = (uniform_draws(keys, data_seed, view, 0) * span).astype(np.int64) - settings.pad
    shift_x = (uniform_draws(keys, data_seed, view, 1) * span).astype(np.int64) - settings.pad
    rows = np.clip(np.arange(side)[None] + shift_y[:, None], 0, side - 1)
    columns = np.clip(np.arange(side)[None] + shift_x[:, None], 0, side - 1)
    if settings.flip:
        flipped = uniform_draws(keys, data_seed, view, 2) < 0.5
        columns[flipped] = columns[flipped, ::-1]
    moved = pixels[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    images = scale_pixels(moved)
    if settings.brightness > 0:
        offset = (2 * uniform_draws(keys, data_seed, view, 3) - 1) * settings.brightness / STD
        images += torch.from_numpy(offset.astype(np.float32)).view(-1, 1, 1, 1)
    if settings.contrast > 0:
        factor = 1 + (2 * uniform_draws(keys, data_seed, view, 4) - 1) * settings.contrast
        images *= torch.from_numpy(factor.astype(np.float32)).view(-1, 1, 1, 1)
    return images


def scale_pixels(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """[N, S, S, 3] uint8 -> [N, 3, S, S] float32 in channels-last memory, scaled by (x / 255 - 0.5) / 0.25."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).to(torch.float32)
    return images.mul_(1 / (255 * STD)).sub_(MEAN / STD)
