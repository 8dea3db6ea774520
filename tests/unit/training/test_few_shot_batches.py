"""Few-shot batches: composition, one pass over the base images, a function of seed and epoch, workers' shares."""

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.training.few_shot_batches import few_shot_batches, num_few_shot_batches, support_per_batch

SIZES = [(93, 10, 16), (160, 40, 32), (48, 16, 32), (85, 5, 16), (30, 9, 7), (3, 40, 32)]


@pytest.mark.parametrize(("num_base", "num_support", "batch_size"), SIZES)
def test_every_batch_has_its_support_and_an_epoch_every_base_image_once(
    num_base: int, num_support: int, batch_size: int
) -> None:
    batches = list(few_shot_batches(num_base, num_support, batch_size, 3, 1))
    support, base = support_per_batch(num_support, batch_size)
    assert len(batches) == num_few_shot_batches(num_base, num_support, batch_size)
    for index, batch in enumerate(batches):
        drawn = batch[batch >= num_base]
        assert len(drawn) == len(set(drawn.tolist())) == support
        assert drawn.max() < num_base + num_support
        assert len(batch) - support == min(base, num_base - index * base)
    rows = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(rows[rows < num_base]), np.arange(num_base))


def test_more_than_half_a_batch_of_support_gives_half_and_less_gives_all() -> None:
    assert support_per_batch(9, 16) == (8, 8)
    assert support_per_batch(8, 16) == (8, 8)
    assert support_per_batch(5, 16) == (5, 11)
    assert support_per_batch(4, 7) == (3, 3)


def test_as_code_a_batch_of_support_alone_follows_an_exact_division() -> None:
    assert [num_few_shot_batches(160, 40, 32, as_code=as_code) for as_code in (False, True)] == [10, 11]
    assert [num_few_shot_batches(93, 10, 16, as_code=as_code) for as_code in (False, True)] == [12, 12]
    last = list(few_shot_batches(160, 40, 32, 0, 0, as_code=True))[-1]
    assert len(last) == 16
    assert last.min() >= 160


def test_an_epoch_is_a_function_of_seed_and_epoch_and_can_be_entered_anywhere() -> None:
    whole = list(few_shot_batches(93, 10, 16, 3, 1))
    for got, expected in zip(few_shot_batches(93, 10, 16, 3, 1, first=4), whole[4:], strict=True):
        np.testing.assert_array_equal(got, expected)
    for seed, epoch in ((4, 1), (3, 2)):
        assert not np.array_equal(whole[0], next(few_shot_batches(93, 10, 16, seed, epoch)))


def test_support_is_drawn_anew_for_each_batch_and_evenly() -> None:
    drawn = np.concatenate([batch[batch >= 400] for batch in few_shot_batches(400, 40, 8, 0, 0)])
    counts = np.bincount(drawn - 400, minlength=40)  # 100 batches of 4: 10 each in the mean
    assert counts.sum() == 400
    assert counts.min() >= 2
    assert counts.max() <= 22


def test_workers_shares_are_the_batch_and_hold_both_kinds() -> None:
    whole = list(few_shot_batches(160, 40, 32, 3, 1))
    shares = [list(few_shot_batches(160, 40, 32, 3, 1, rank=rank, num_workers=2)) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        np.testing.assert_array_equal(np.concatenate([first, second]), batch)
        assert all((share < 160).any() and (share >= 160).any() for share in (first, second))


def test_no_support_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 support images"):
        next(few_shot_batches(10, 0, 4, 0, 0))
