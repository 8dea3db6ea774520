"""The order of images: drawn by data seed and pass alone, cut so that workers share the global batch."""

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.training.draws import Indices, permutation
from orchestrator.training.order import Order, Place, num_batches
from orchestrator.training.settings import ClassBalancedSampler, FewShotSampler

FEW_SHOT: dict[str, object] = {"sampler": FewShotSampler(), "num_seen_classes": 2}  # a third of the images is support


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


@pytest.mark.parametrize("sampler", [{}, {"sampler": ClassBalancedSampler()}, FEW_SHOT], ids=str)
@pytest.mark.parametrize("num_workers", [2, 4, 8])
def test_the_workers_shares_joined_in_rank_order_are_the_global_batch(
    num_workers: int, sampler: dict[str, object]
) -> None:
    made = order(216, 64, **sampler)
    alone = batches(made)
    shares = [batches(made, rank=rank, num_workers=num_workers) for rank in range(num_workers)]
    joined = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    assert len(alone) == (5 if sampler is FEW_SHOT else 3)
    assert all(np.array_equal(whole, parts) for whole, parts in zip(alone, joined, strict=True))


@pytest.mark.parametrize("sampler", [{}, {"sampler": ClassBalancedSampler()}, FEW_SHOT], ids=str)
@pytest.mark.parametrize("passes", [1, 3])
def test_an_epoch_continued_at_a_batch_has_the_same_batches_from_there(passes: int, sampler: dict[str, object]) -> None:
    made = order(210, 32, passes_per_epoch=passes, **sampler)
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


def test_few_shot_batches_hold_support_and_an_epoch_shows_each_image_of_seen_classes_once() -> None:
    made = order(210, 32, **FEW_SHOT)
    found = batches(made)
    assert len(found) == made.batches_per_epoch == 9  # 140 images of seen classes, 16 in each batch
    for batch in found:
        support = batch[made.labels[batch] == 2]
        assert len(set(support.tolist())) == len(support) == 16
    base = np.concatenate(found)
    np.testing.assert_array_equal(np.sort(base[made.labels[base] < 2]), np.flatnonzero(made.labels < 2))
    assert not np.array_equal(found[0], batches(made, epoch=2)[0])


@pytest.mark.parametrize("num_seen", [None, 0, 3])
def test_few_shot_batches_without_images_of_both_kinds_of_classes_are_refused(num_seen: int | None) -> None:
    with pytest.raises(ConfigError, match="few_shot"):
        batches(order(210, 32, sampler=FewShotSampler(), num_seen_classes=num_seen))


def test_a_few_shot_batch_that_workers_cannot_share_is_refused_rather_than_left_out() -> None:
    made = Order(np.repeat([0, 1], [9, 1]), 5, 0, FewShotSampler(), num_seen_classes=1)  # the last holds two images
    assert len(batches(made, num_workers=2)) == 3
    with pytest.raises(ConfigError, match="cannot be shared by 3 workers"):
        batches(made, num_workers=3)
