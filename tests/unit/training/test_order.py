"""The order of images: drawn by data seed and pass alone, cut so that workers share the global batch."""

import numpy as np
import pytest

from orchestrator.training.order import Indices, Order, Place, num_batches, permutation
from orchestrator.training.settings import ClassBalancedSampler


def order(num_images: int, batch_size: int, **options: object) -> Order:
    return Order(np.arange(num_images) % 3, batch_size, 7, **options)  # type: ignore[arg-type]


def batches(made: Order, epoch: int = 1, **options: int) -> list[Indices]:
    return [rows for _, rows in made.batches(epoch, **options)]


@pytest.mark.parametrize("num_images", [1, 2, 62, 2810])
def test_a_pass_is_a_permutation_of_all_images(num_images: int) -> None:
    assert np.array_equal(np.sort(permutation(num_images, 3, 5)), np.arange(num_images))


def test_order_changes_with_pass_and_seed_and_with_nothing_else() -> None:
    first = permutation(500, 3, 5)
    np.random.default_rng(0).random(100)
    np.random.seed(1)
    assert np.array_equal(first, permutation(500, 3, 5))
    assert not np.array_equal(first, permutation(500, 3, 6))
    assert not np.array_equal(first, permutation(500, 4, 5))
    assert not np.array_equal(permutation(500, 1, 2), permutation(500, 2, 1))


@pytest.mark.parametrize("num_workers", [2, 4, 8])
def test_the_workers_shares_joined_in_rank_order_are_the_global_batch(num_workers: int) -> None:
    alone = batches(order(210, 64))
    shares = [batches(order(210, 64), rank=rank, num_workers=num_workers) for rank in range(num_workers)]
    joined = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    assert len(alone) == 3
    assert all(np.array_equal(whole, parts) for whole, parts in zip(alone, joined, strict=True))


@pytest.mark.parametrize("passes", [1, 3])
def test_an_epoch_continued_at_a_batch_has_the_same_batches_from_there(passes: int) -> None:
    made = order(210, 32, passes_per_epoch=passes)
    whole, rest = batches(made), batches(made, first=4)
    assert len(rest) == len(whole) - 4
    assert all(np.array_equal(a, b) for a, b in zip(whole[4:], rest, strict=True))


def test_the_short_last_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert (num_batches(62, 16), num_batches(64, 16), num_batches(5, 16)) == (3, 4, 1)
    assert [len(batch) for batch in batches(order(5, 16))] == [5]
    seen = np.concatenate(batches(order(62, 16)))
    assert len(set(seen.tolist())) == 48


def test_an_epoch_of_several_passes_is_so_many_passes_on_end() -> None:
    several, single = order(64, 16, passes_per_epoch=3), order(64, 16)
    assert several.batches_per_epoch == 3 * single.batches_per_epoch
    found = list(several.batches(2))
    assert [place for place, _ in found] == [Place(6 + index // 4, index) for index in range(12)]
    passes = [rows for epoch in (6, 7, 8) for rows in batches(single, epoch)]
    assert all(np.array_equal(rows, other) for (_, rows), other in zip(found, passes, strict=True))


def test_balanced_sampling_shows_rare_classes_as_often_and_power_zero_as_they_come() -> None:
    labels = np.repeat([0, 1, 2], [3000, 90, 10])
    for power, expected in ((1.0, [1 / 3] * 3), (0.0, [3000 / 3100, 90 / 3100, 10 / 3100])):
        drawn = Order(labels, 62, 0, ClassBalancedSampler(power=power)).drawn(0)
        shares = np.bincount(labels[drawn], minlength=3) / len(drawn)
        np.testing.assert_allclose(shares, expected, atol=0.03)  # 3,100 draws: three standard errors of a third
