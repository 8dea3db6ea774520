"""The order of images: a function of (data seed, pass) alone, cut into global batches and these into workers' shares.

Reads and writes nothing. Knows nothing of images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orchestrator.training.settings import ClassBalancedSampler, FewShotSampler, SamplerSettings, ShuffledSampler

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """Where a batch stands: `pass_index` counts passes over the data from 0, `index` the batches within its epoch."""

    pass_index: int
    index: int


@dataclass(frozen=True)
class Order:
    """The batches of a training.

    Attributes:
        labels: [n] of the training images.
        batch_size: global, over all workers.
        num_seen_classes: labels from here on are unseen classes' (the support of few-shot training).
    """

    labels: Indices
    batch_size: int
    data_seed: int
    sampler: SamplerSettings = field(default_factory=ShuffledSampler)
    passes_per_epoch: int = 1
    num_seen_classes: int | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return self.passes_per_epoch * num_batches(self._num_drawn, self.batch_size)

    @property
    def _num_drawn(self) -> int:
        """Images of one pass."""
        return len(self.labels)

    def batches(
        self, epoch: int, *, first: int = 0, rank: int = 0, num_workers: int = 1
    ) -> Iterator[tuple[Place, Indices]]:
        """This worker's share of each global batch of an epoch, starting at global batch `first`.

        The shares of all workers, joined in rank order, are the global batch, whatever `num_workers` is.
        """
        per_pass = self.batches_per_epoch // self.passes_per_epoch
        for index in range(first, self.batches_per_epoch):
            number, within = divmod(index, per_pass)
            place = Place(epoch * self.passes_per_epoch + number, index)
            if index == first or within == 0:
                drawn = self.drawn(place.pass_index)
            batch = drawn[within * self.batch_size : (within + 1) * self.batch_size]
            share = len(batch) // num_workers  # equal shares: gathering needs them, and so does an averaged gradient
            yield place, batch[rank * share : (rank + 1) * share]

    def drawn(self, pass_index: int) -> Indices:
        """The images of one pass in order: the same on every machine and for any number of workers."""
        if isinstance(self.sampler, ClassBalancedSampler):
            return self._balanced(self.sampler.power, pass_index)
        assert not isinstance(self.sampler, FewShotSampler)
        return permutation(self._num_drawn, self.data_seed, pass_index)

    def _balanced(self, power: float, pass_index: int) -> Indices:
        count = np.bincount(self.labels)[self.labels].astype(np.float64)
        chance = count**-power
        generator = np.random.Generator(np.random.Philox(key=[self.data_seed, pass_index]))
        return generator.choice(len(self.labels), len(self.labels), p=chance / chance.sum()).astype(np.int64)


def permutation(num_images: int, data_seed: int, pass_index: int) -> Indices:
    """A permutation of range(num_images)."""
    generator = np.random.Generator(np.random.Philox(key=[data_seed, pass_index]))
    return generator.permutation(num_images).astype(np.int64)


def num_batches(num_images: int, batch_size: int) -> int:
    """Global batches in one pass; the last short one is dropped unless it is the only one."""
    return max(1, num_images // batch_size)
