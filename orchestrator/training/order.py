"""The order of images: a function of (data seed, pass) alone, cut into global batches and these into workers' shares.

Reads and writes nothing. Knows nothing of images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.training.draws import Indices, permutation
from orchestrator.training.few_shot_batches import few_shot_batches, num_few_shot_batches
from orchestrator.training.settings import ClassBalancedSampler, FewShotSampler, SamplerSettings, ShuffledSampler

__all__ = ["Indices", "Order", "Place", "num_batches"]


@dataclass(frozen=True)
class Place:
    """Where a batch stands.

    Attributes:
        pass_index: passes over the data, from 0.
        index: the global batch within its epoch, from 0.
        share: which of the global batch's equal shares this is: micro-batch * number of workers + worker.
    """

    pass_index: int
    index: int
    share: int = 0


@dataclass(frozen=True)
class Order:
    """The batches of a training.

    Attributes:
        labels: [n] of the training images.
        batch_size: global, over all workers and micro-batches.
        num_seen_classes: labels from here on are unseen classes' (the support of few-shot training).
    """

    labels: Indices
    batch_size: int
    data_seed: int
    sampler: SamplerSettings = field(default_factory=ShuffledSampler)
    passes_per_epoch: int = 1
    num_seen_classes: int | None = None
    num_micro_batches: int = 1

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return self.passes_per_epoch * self._batches_per_pass

    @property
    def _batches_per_pass(self) -> int:
        if isinstance(self.sampler, FewShotSampler):
            base, support = self._base_and_support()
            return num_few_shot_batches(len(base), len(support), self.batch_size)
        return num_batches(len(self.labels), self.batch_size)

    def batches(
        self, epoch: int, *, first: int = 0, rank: int = 0, num_workers: int = 1
    ) -> Iterator[tuple[Place, Indices]]:
        """This worker's share of each micro-batch of each global batch of an epoch, from global batch `first` on.

        The shares of all workers, joined in rank order, are the micro-batch, and the micro-batches joined are the
        global batch, whatever `num_workers` is (less its last len % (num_workers * num_micro_batches) images).

        Raises:
            ConfigError: a batch has fewer images than shares.
        """
        num_shares = num_workers * self.num_micro_batches
        per_pass = self._batches_per_pass
        number, within = divmod(first, per_pass)
        for index_of_pass in range(number, self.passes_per_epoch):
            pass_index = epoch * self.passes_per_epoch + index_of_pass
            shares = range(rank, num_shares, num_workers)
            cuts = [self._cut(pass_index, within, share, num_shares) for share in shares]
            for index, parts in enumerate(zip(*cuts, strict=True), start=index_of_pass * per_pass + within):
                for share, rows in zip(shares, parts, strict=True):
                    yield Place(pass_index, index, share), rows
            within = 0

    def from_step(
        self, step: int, num_epochs: int, *, rank: int = 0, num_workers: int = 1
    ) -> Iterator[tuple[Place, Indices]]:
        """The same of every batch from step `step` on, to the end of epoch number `num_epochs`."""
        epoch, first = divmod(step, self.batches_per_epoch)
        for index in range(epoch, num_epochs):
            yield from self.batches(index, first=first, rank=rank, num_workers=num_workers)
            first = 0

    def _cut(self, pass_index: int, first: int, share: int, num_shares: int) -> Iterator[Indices]:
        """One of the equal shares of the batches of one pass, from batch `first` on."""
        if isinstance(self.sampler, FewShotSampler):
            yield from self._few_shot(pass_index, first, share, num_shares)
            return
        drawn = self.drawn(pass_index)
        for index in range(first, self._batches_per_pass):
            batch = drawn[index * self.batch_size : (index + 1) * self.batch_size]
            size = len(batch) // num_shares  # equal shares: gathering needs them, and so does an averaged gradient
            if not size:
                raise ConfigError(
                    f"a batch of {len(batch)} images in {num_shares} shares",
                    expected="an image or more for each worker in each micro-batch",
                    remedy="fewer workers, or a smaller training.accumulation_steps",
                )
            yield batch[share * size : (share + 1) * size]

    def _few_shot(self, pass_index: int, first: int, share: int, num_shares: int) -> Iterator[Indices]:
        """The same, where each batch has support images beside base images."""
        base, support = self._base_and_support()
        rows = np.concatenate([base, support])
        made = few_shot_batches(
            len(base), len(support), self.batch_size, self.data_seed, pass_index, first=first, rank=share,
            num_workers=num_shares,
        )  # fmt: skip
        for batch in made:
            yield rows[batch]

    def _base_and_support(self) -> tuple[Indices, Indices]:
        """Rows of images of seen and of unseen classes."""
        seen = self.labels < (self.num_seen_classes or 0)
        base, support = np.flatnonzero(seen).astype(np.int64), np.flatnonzero(~seen).astype(np.int64)
        if self.num_seen_classes is None or not len(base) or not len(support):
            raise ConfigError(
                f"training.sampler few_shot: {len(base)} images of seen classes, {len(support)} of unseen ones",
                expected="both: a data set with unseen classes, some images of which are in the training split",
            )
        return base, support

    def drawn(self, pass_index: int) -> Indices:
        """The images of one pass in order, without few-shot batches: the same everywhere, for any number of workers."""
        if isinstance(self.sampler, ClassBalancedSampler):
            return self._balanced(self.sampler.power, pass_index)
        return permutation(len(self.labels), self.data_seed, pass_index)

    def _balanced(self, power: float, pass_index: int) -> Indices:
        count = np.bincount(self.labels)[self.labels].astype(np.float64)
        chance = count**-power
        generator = np.random.Generator(np.random.Philox(key=[self.data_seed, pass_index]))
        return generator.choice(len(self.labels), len(self.labels), p=chance / chance.sum()).astype(np.int64)


def num_batches(num_images: int, batch_size: int) -> int:
    """Global batches in one pass; the last short one is dropped unless it is the only one."""
    return max(1, num_images // batch_size)
