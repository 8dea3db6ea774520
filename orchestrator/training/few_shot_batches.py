"""Batches for fine-tuning on a few images of unseen classes: in every batch, support images beside base images.

A function of (data seed, epoch, batch) alone, like `order`. Reads and writes nothing. Knows nothing of images. Source:
methods 1.12 (Li et al. 2023, few-shot fine-tuning).
"""

from collections.abc import Iterator

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.training.draws import Indices, permutation


def support_per_batch(num_support: int, batch_size: int) -> tuple[int, int]:
    """(support images, base images) of a full batch.

    A support set larger than half a batch gives half a batch of it (so an odd batch size loses one image); a smaller
    one is in every batch as a whole.

    Raises:
        ConfigError: no support image, or no room for a base image.
    """
    if num_support < 1 or batch_size < 2:
        raise ConfigError(
            f"few-shot batches of {batch_size} with {num_support} support images",
            expected="at least one support image, and batches of at least 2",
        )
    half = batch_size // 2
    return (half, half) if num_support > half else (num_support, batch_size - num_support)


def num_few_shot_batches(num_base: int, num_support: int, batch_size: int, *, as_code: bool = False) -> int:
    """Global batches in one epoch, which is one pass over the base images; the last may hold fewer of them.

    as_code: where the batches divide the base images exactly, one batch of support images alone follows, as in the
    official code.
    """
    _, base = support_per_batch(num_support, batch_size)
    return num_base // base + 1 if as_code else -(-num_base // base)


def few_shot_batches(
    num_base: int,
    num_support: int,
    batch_size: int,
    data_seed: int,
    epoch: int,
    *,
    first: int = 0,
    rank: int = 0,
    num_workers: int = 1,
    as_code: bool = False,
) -> Iterator[Indices]:
    """This worker's share of each global batch of an epoch, starting at global batch `first`.

    Rows 0..num_base-1 are the base images, num_base..num_base+num_support-1 the support images. Each base image comes
    once; the support images of a batch are drawn without replacement, anew for each batch. A batch is shuffled, so
    that workers' shares hold both kinds. The shares, joined in rank order, are the global batch (less its last
    len % num_workers rows).

    Raises:
        ConfigError: as `support_per_batch`; or a batch has fewer images than there are workers.
    """
    support, base = support_per_batch(num_support, batch_size)
    order = permutation(num_base, data_seed, epoch)
    for index in range(first, num_few_shot_batches(num_base, num_support, batch_size, as_code=as_code)):
        # the third word of the counter keeps these draws apart from the epoch's order, which counts from zero
        generator = np.random.Generator(np.random.Philox(key=[data_seed, epoch], counter=[0, 0, index + 1, 0]))
        drawn = num_base + generator.permutation(num_support)[:support].astype(np.int64)
        batch = generator.permutation(np.concatenate([drawn, order[index * base : (index + 1) * base]]))
        share = len(batch) // num_workers
        if not share:
            raise ConfigError(
                f"a few-shot batch of {len(batch)} images cannot be shared by {num_workers} workers",
                remedy="raise training.batch_size, or take fewer workers or a smaller training.accumulation_steps",
            )
        yield batch[rank * share : (rank + 1) * share]
