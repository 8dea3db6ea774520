"""Images that are nearly the same: a perceptual hash finds pairs, a look at small copies confirms them.

Holds formulas. Reads and writes nothing.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.float32]

MAX_DISTANCE = 6  # of 64 bits; two unrelated images differ in 32 on average
MIN_CORRELATION = 0.97  # of the small copies
SIDE = 16  # of a small copy
FLAT = 2.0  # grey levels of standard deviation below which an image shows too little to be recognised
ROWS_AT_ONCE = 1024


def difference_hash(pixels: npt.NDArray[np.uint8]) -> tuple[Hashes, Thumbnails]:
    """(64-bit difference hashes, small grey copies) of images [N, H, W, 3], as [N] and [N, 16, 16].

    The image is made grey (Rec. 601) and reduced to 8 rows of 9 by means over areas; bit `8 r + c`, counted from the
    front, says whether cell c + 1 of row r is lighter than cell c (Krawetz 2013, "Kind of like that"). Lightness,
    contrast, size and compression hardly change it; turning, flipping and cropping do, so such copies are not found.
    """
    from torch import from_numpy
    from torch.nn.functional import adaptive_avg_pool2d

    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    planes = from_numpy(grey)[:, None]
    cells = adaptive_avg_pool2d(planes, (8, 9))[:, 0].numpy()
    bits = (cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(pixels), 64)
    hashes = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes, adaptive_avg_pool2d(planes, (SIDE, SIDE))[:, 0].numpy()


def near_pairs(
    first: tuple[Hashes, Thumbnails], second: tuple[Hashes, Thumbnails]
) -> Iterator[tuple[int, int, int, float]]:
    """Pairs (row of the first, row of the second, differing bits, correlation) that are nearly the same image.

    Every hash is compared with every other (a billion pairs in some seconds); pairs of at most six differing bits count
    where their small copies correlate by 0.97 or more. Flat images are left out.
    """
    hashes, others = first[0], second[0]
    mine, theirs = _standardised(first[1]), _standardised(second[1])
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        distances = np.bitwise_count(hashes[start : start + ROWS_AT_ONCE, None] ^ others[None])
        for row, column in zip(*np.nonzero(distances <= MAX_DISTANCE), strict=True):
            correlation = float((mine[start + row] * theirs[column]).mean())
            if correlation >= MIN_CORRELATION:
                yield int(start + row), int(column), int(distances[row, column]), correlation


def _standardised(thumbnails: Thumbnails) -> Thumbnails:
    """[N, 256] of mean 0 and deviation 1; zeros where there is nothing to see."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    return np.where(deviation < FLAT, 0.0, centred / np.maximum(deviation, FLAT)).astype(np.float32)
