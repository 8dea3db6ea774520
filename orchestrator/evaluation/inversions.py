"""How many pairs two orderings put in opposite order, exactly and in O(n log n).

Holds one count. Reads and writes nothing. Knows nothing of embeddings.
"""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
_BLOCK_ELEMENTS = 1 << 21


def count_inversions(reference: Scores, other: Scores) -> npt.NDArray[np.int64]:
    """For each row, the pairs of columns that `reference` orders one way and `other` the opposite way.

    A pair that either of them ties is never counted (Knight 1966 counts the discordant pairs of Kendall's tau by a
    merge sort; here all rows are split together, by one bit of the rank at a time).

    Args:
        reference, other: [R, n] scores.

    Returns:
        [R], each 0..n(n-1)/2.
    """
    assert reference.shape == other.shape
    assert reference.ndim == 2
    num_rows, length = reference.shape
    found = np.zeros(num_rows, np.int64)
    if length < 2:
        return found
    step = max(1, _BLOCK_ELEMENTS // length)
    for start in range(0, num_rows, step):
        block = slice(start, start + step)
        found[block] = _inversions(_as_permutation(reference[block], other[block]))
    return found


def _as_permutation(reference: Scores, other: Scores) -> npt.NDArray[np.int32]:
    """[R, n] permutations of 0..n-1 whose inversions are the discordant pairs.

    Columns in the order of `reference`, ties in the order of `other`; then their stable order by `other`. So neither
    kind of tie is an inversion. (A permutation has as many inversions as its inverse.)
    """
    by_other = np.argsort(other, axis=1, kind="stable")
    by_reference = np.argsort(np.take_along_axis(reference, by_other, 1), axis=1, kind="stable")
    order = np.take_along_axis(by_other, by_reference, 1)
    return np.argsort(np.take_along_axis(other, order, 1), axis=1, kind="stable").astype(np.int32)


def _inversions(permutation: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Inversions of each row: for each bit, pairs that agree in the higher bits and come with the 1 before the 0."""
    num_rows, length = permutation.shape
    size = 1 << (length - 1).bit_length()
    groups = np.empty((num_rows, size), np.int32)
    groups[:, :length], groups[:, length:] = permutation, np.arange(length, size)  # the padding adds none
    found = np.zeros(num_rows, np.int64)
    groups = groups.reshape(num_rows, 1, size)
    while (half := groups.shape[-1] // 2) > 0:  # every group holds each of its values once, so it splits in halves
        upper = (groups & half) != 0
        uppers_before = np.cumsum(upper, axis=-1, dtype=np.int32)
        found += np.where(upper, 0, uppers_before).sum((1, 2), dtype=np.int64)
        parts = [groups[~upper].reshape(num_rows, -1, half), groups[upper].reshape(num_rows, -1, half)]
        groups = np.stack(parts, axis=2).reshape(num_rows, -1, half)
    return found
