"""The paired interval against a closed form and its limits."""

import math

import pytest

from orchestrator.evaluation.paired import paired_difference


def test_three_pairs_give_students_interval() -> None:
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))  # t(0.975, 2), standard deviation 1
    assert found.num_pairs == 3
    assert not found.excludes_zero


def test_the_same_difference_in_every_pair_leaves_no_doubt() -> None:
    found = paired_difference([3.0, 4.0], [1.0, 2.0])
    assert (found.mean, found.half_width) == (2.0, 0.0)
    assert found.excludes_zero


def test_one_pair_says_nothing_about_the_spread() -> None:
    found = paired_difference([3.0], [1.0])
    assert math.isinf(found.half_width)
    assert not found.excludes_zero


def test_shifting_both_sides_changes_nothing() -> None:
    values, references = [3.0, 5.5, 4.0], [1.0, 4.0, 3.5]
    shifted = paired_difference([v + 7 for v in values], [r + 7 for r in references])
    found = paired_difference(values, references)
    assert shifted.mean == pytest.approx(found.mean)
    assert shifted.half_width == pytest.approx(found.half_width)
