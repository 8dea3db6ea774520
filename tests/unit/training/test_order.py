"""The order of images: a permutation of data seed and epoch alone, cut so that workers share the global batch."""

import numpy as np
import pytest

from orchestrator.training.order import batches, epoch_order, num_batches


@pytest.mark.parametrize("num_images", [1, 2, 62, 2810])
def test_an_epoch_is_a_permutation_of_all_images(num_images: int) -> None:
    assert np.array_equal(np.sort(epoch_order(num_images, 3, 5)), np.arange(num_images))


def test_order_changes_with_epoch_and_seed_and_with_nothing_else() -> None:
    first = epoch_order(500, 3, 5)
    np.random.default_rng(0).random(100)
    np.random.seed(1)
    assert np.array_equal(first, epoch_order(500, 3, 5))
    assert not np.array_equal(first, epoch_order(500, 3, 6))
    assert not np.array_equal(first, epoch_order(500, 4, 5))
    assert not np.array_equal(epoch_order(500, 1, 2), epoch_order(500, 2, 1))


@pytest.mark.parametrize("num_workers", [2, 4, 8])
def test_the_workers_shares_joined_in_rank_order_are_the_global_batch(num_workers: int) -> None:
    alone = list(batches(210, 64, 7, 1))
    shares = [list(batches(210, 64, 7, 1, rank=rank, num_workers=num_workers)) for rank in range(num_workers)]
    joined = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    assert len(alone) == 3
    assert all(np.array_equal(whole, parts) for whole, parts in zip(alone, joined, strict=True))


def test_an_epoch_continued_at_a_batch_has_the_same_batches_from_there() -> None:
    whole = list(batches(210, 32, 7, 1))
    rest = list(batches(210, 32, 7, 1, first=4))
    assert all(np.array_equal(a, b) for a, b in zip(whole[4:], rest, strict=True))


def test_the_short_last_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert (num_batches(62, 16), num_batches(64, 16), num_batches(5, 16)) == (3, 4, 1)
    assert [len(batch) for batch in batches(5, 16, 0, 0)] == [5]
    seen = np.concatenate(list(batches(62, 16, 0, 0)))
    assert len(set(seen.tolist())) == 48
