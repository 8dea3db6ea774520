"""Many / Medium / Few on a case small enough to work out by hand."""

import math

import pytest

from orchestrator.evaluation.shot_accuracy import as_percent, shot_accuracy


def test_groups_are_means_over_classes_and_the_bounds_20_and_100_are_medium() -> None:
    got = shot_accuracy([1, 3, 2, 0, 1], [2, 4, 4, 2, 8], [101, 100, 20, 19, 500])
    assert got["many"] == pytest.approx((0.5 + 0.125) / 2)
    assert got["medium"] == pytest.approx((0.75 + 0.5) / 2)
    assert got["few"] == 0.0
    assert got["all"] == pytest.approx(7 / 20)
    assert got["mean_per_class"] == pytest.approx((0.5 + 0.75 + 0.5 + 0 + 0.125) / 5)


def test_classes_that_are_not_evaluated_are_left_out() -> None:
    got = shot_accuracy([1, 0], [2, 0], [150, 150])
    assert got["many"] == 0.5
    assert got["mean_per_class"] == 0.5


def test_an_empty_group_is_not_available_and_zero_only_for_parity() -> None:
    got = shot_accuracy([1], [2], [150])
    assert math.isnan(got["few"])
    assert as_percent(got["few"]) == "n/a"
    assert as_percent(got["many"]) == "50.0"
    assert shot_accuracy([1], [2], [150], empty_group=0.0)["few"] == 0.0
