"""Paired intervals over seeds and over images against closed forms, their limits, and what they cover."""

import math

import numpy as np
import pytest

from orchestrator.evaluation.paired import Interval, bootstrap_accuracy, class_winners, mcnemar, paired_difference
from orchestrator.evaluation.shot_accuracy import shot_accuracy


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


def test_an_accuracys_interval_is_that_of_the_binomial_distribution() -> None:
    outcomes = np.repeat([1.0, 0.0], [360, 40])
    found = bootstrap_accuracy(outcomes, np.zeros(400, int), [50], num_resamples=20000)
    deviation = math.sqrt(0.9 * 0.1 / 399)  # of the mean of 400, unbiased
    assert found["all"].value == pytest.approx(0.9)
    assert (found["all"].high - found["all"].low) / 2 == pytest.approx(1.96 * deviation, rel=0.05)
    assert found["medium"] == found["mean_per_class"] == found["all"]
    assert math.isnan(found["many"].value)
    assert not found["few"].excludes_zero


def test_groups_are_means_over_classes_and_all_is_one_over_images() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    outcomes = np.concatenate([np.ones(10), np.repeat([1.0, 0.0], 10), np.zeros(30)])
    found = bootstrap_accuracy(outcomes, labels, [500, 5, 5])
    values = {name: interval.value for name, interval in found.items()}
    assert values == pytest.approx(
        {"all": 20 / 60, "mean_per_class": 0.5, "many": 1.0, "medium": math.nan, "few": 0.25}, nan_ok=True
    )
    assert (found["many"].low, found["many"].high) == (1.0, 1.0)  # every image of the class is right
    assert shot_accuracy([10, 10, 0], [10, 20, 30], [500, 5, 5]) == pytest.approx(values, nan_ok=True)


def test_the_interval_of_a_paired_difference_holds_the_truth_as_often_as_it_says() -> None:
    generator, covered, repeats = np.random.default_rng(0), 0, 400
    labels = np.repeat(np.arange(20), 5)  # few images in each class: here drawing n of n would cover too little
    for repeat in range(repeats):
        hard, luck = generator.random(100), generator.random(100)  # `hard` for both, so they are not independent
        first, second = (hard < 0.7) | (luck < 0.2), (hard < 0.6) | (luck > 0.9)
        found = bootstrap_accuracy(first * 1.0 - second, labels, np.full(20, 9), num_resamples=300, seed=repeat)["all"]
        truth = (1 - 0.3 * 0.8) - (1 - 0.4 * 0.9)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / repeats <= 0.98


def test_equal_students_and_ties_are_not_distinguished() -> None:
    same = bootstrap_accuracy(np.zeros(50), np.repeat([0, 1], 25), [5, 500])
    assert all(not math.isfinite(one.value) or (one.value, one.low, one.high) == (0, 0, 0) for one in same.values())
    assert not any(one.excludes_zero for one in same.values())
    assert not Interval(0.1, 0.0, 0.2, 50).excludes_zero
    assert Interval(0.1, 0.01, 0.2, 50).excludes_zero
    assert mcnemar([True, False], [True, False]) == (0, 0, 1.0)


def test_a_handful_of_images_cannot_decide_though_resampling_them_shows_no_spread() -> None:
    assert not bootstrap_accuracy(np.ones(5), np.zeros(5, int), [5])["few"].excludes_zero
    assert bootstrap_accuracy(np.ones(6), np.zeros(6, int), [5])["few"].excludes_zero
    single = bootstrap_accuracy([1.0] * 9 + [-1.0] * 3, np.arange(12), np.full(12, 5))["few"]  # one image in each class
    assert single.value == pytest.approx(0.5)
    assert (single.high - single.low) / 2 == pytest.approx(1.96 * math.sqrt(0.75 / 12), rel=0.15)


def test_eight_against_two_discordant_images_have_the_binomial_p_value() -> None:
    first = np.array([True] * 8 + [False] * 2 + [True] * 5)
    second = np.array([False] * 8 + [True] * 2 + [True] * 5)
    assert mcnemar(first, second) == (8, 2, pytest.approx(2 * (1 + 10 + 45) / 2**10))


def test_a_class_has_a_winner_only_where_chance_over_all_classes_is_ruled_out() -> None:
    labels = np.repeat(np.arange(10), 20)
    first = np.zeros(200, bool)
    first[:12] = True  # class 0: 12 images only the first gets right, p = 2 / 2**12
    first[20:26] = True  # class 1: 6, p = 2 / 2**6 = 0.031, which among ten classes is nothing
    found = class_winners(first, np.zeros(200, bool), labels)
    assert [one.winner for one in found] == [1, *[0] * 9]
    assert found[0].adjusted == pytest.approx(10 * 2 / 2**12)
    assert found[1].adjusted == pytest.approx(10 / 2 * 2 / 2**6)
    assert class_winners(np.zeros(200, bool), first, labels)[0].winner == 2
