"""The order of images: a function of (data seed, epoch) alone, cut into global batches and these into workers' shares.

Reads and writes nothing. Knows nothing of images.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def epoch_order(num_images: int, data_seed: int, epoch: int) -> Indices:
    """A permutation of range(num_images), the same on every machine and for any number of workers."""
    generator = np.random.Generator(np.random.Philox(key=[data_seed, epoch]))
    return generator.permutation(num_images).astype(np.int64)


def num_batches(num_images: int, batch_size: int) -> int:
    """Global batches in one epoch; the last short one is dropped unless it is the only one."""
    return max(1, num_images // batch_size)


def batches(
    num_images: int, batch_size: int, data_seed: int, epoch: int, *, first: int = 0, rank: int = 0, num_workers: int = 1
) -> Iterator[Indices]:
    """This worker's share of each global batch of an epoch, starting at global batch `first`.

    The shares of all workers, joined in rank order, are the global batch, whatever `num_workers` is.
    """
    order = epoch_order(num_images, data_seed, epoch)
    for index in range(first, num_batches(num_images, batch_size)):
        batch = order[index * batch_size : (index + 1) * batch_size]
        share = len(batch) // num_workers  # equal shares: gathering needs them, and so does an averaged gradient
        yield batch[rank * share : (rank + 1) * share]
