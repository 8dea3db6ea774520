"""Alarms on synthetic histories: each condition, its nearest innocent neighbours, noise, gaps, prefixes."""

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.training.alarms import Alarm, AlarmSettings, alarms


def history(**series: Sequence[float]) -> list[dict[str, float]]:
    """One dict for each epoch; `__` in a name is `/`, and NaN is a metric that is missing in that epoch."""
    length = len(next(iter(series.values())))
    names = {name: name.replace("__", "/") for name in series}
    return [
        {"epoch": float(n + 1)} | {names[name]: float(v[n]) for name, v in series.items() if not np.isnan(v[n])}
        for n in range(length)
    ]


def line(start: float, end: float, count: int = 20) -> np.ndarray:
    return np.linspace(start, end, count)


def noise(scale: float, seed: int, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, count)


def test_training_that_rises_while_unseen_classes_fall_is_told_once_with_its_numbers() -> None:
    found = alarms(history(train__accuracy=line(0.3, 0.68), ood__mean_per_class=line(0.4, 0.21)))
    assert found == [
        Alarm(
            "overfitting",
            10,
            "train/accuracy rises (0.300 to 0.480) over epochs 1 to 10 while ood/mean_per_class falls (0.400 to "
            "0.310): the student fits its training images at the cost of others",
        )
    ]


def test_the_alarm_comes_when_the_fall_begins_not_before() -> None:
    held_out = np.concatenate([line(0.2, 0.5, 15), line(0.5, 0.2, 15)])
    found = alarms(history(train__accuracy=line(0.2, 0.9, 30), id_val__mean_per_class=held_out))
    assert [alarm.name for alarm in found] == ["overfitting"]
    assert 20 <= found[0].epoch <= 24  # the window of ten has to be mostly past the peak at epoch 15


@pytest.mark.parametrize(
    ("training", "held_out"),
    [
        (line(0.3, 0.9), line(0.2, 0.5)),  # both rise
        (line(0.3, 0.9), line(0.4, 0.4)),  # flat
        (line(0.6, 0.6), line(0.4, 0.2)),  # training does not rise
        (line(0.6, 0.4), line(0.4, 0.2)),  # both fall: diverging, not overfitting
        (line(0.3, 0.9), line(0.4, 0.385)),  # falls by less than a point over a window
    ],
)
def test_other_courses_raise_no_alarm(training: np.ndarray, held_out: np.ndarray) -> None:
    assert alarms(history(train__accuracy=training, select__mean_per_class=held_out)) == []


def test_a_real_fall_is_seen_through_noise() -> None:
    seen = 0
    for seed in range(20):
        held_out = line(0.5, 0.3) + noise(0.01, seed)
        found = alarms(history(train__accuracy=line(0.5, 0.9) + noise(0.01, 100 + seed), ood__mean_per_class=held_out))
        seen += [alarm.name for alarm in found] == ["overfitting"]
    assert seen == 20


def test_noise_around_a_plateau_is_hardly_ever_an_alarm() -> None:
    raised = 0
    for seed in range(30):  # 30 runs of 60 epochs: training saturates, held-out accuracy wavers by two points
        training = 1 - np.exp(-np.arange(60) / 10) + noise(0.01, seed, 60)
        raised += bool(alarms(history(train__accuracy=training, ood__mean_per_class=noise(0.02, 1000 + seed, 60))))
    assert raised <= 1


def test_one_outlier_is_no_trend() -> None:
    held_out = np.full(20, 0.4)
    held_out[12] = 0.05
    assert alarms(history(train__accuracy=line(0.3, 0.9), ood__mean_per_class=held_out)) == []


def test_a_falling_training_loss_stands_in_for_accuracy() -> None:
    loss, held_out = line(4.0, 0.5), line(0.4, 0.2)
    found = alarms(history(train__loss=loss, ood__mean_per_class=held_out))
    assert [alarm.name for alarm in found] == ["overfitting"]
    assert "train/loss falls (4.000 to 2.342)" in found[0].message
    assert alarms(history(train__loss=loss[::-1], ood__mean_per_class=held_out)) == []


def test_coherence_that_rises_without_unseen_classes_is_told() -> None:
    flat = 0.3 + noise(0.002, 0)
    found = alarms(history(ood__m_rel=line(0.1, 0.5), ood__m_neigh=line(0.2, 0.2), ood__mean_per_class=flat))
    assert [(alarm.name, alarm.epoch) for alarm in found] == [("coherence_without_ood", 10)]
    assert found[0].message.startswith("ood/m_rel rises (0.100 to 0.289) over epochs 1 to 10 while ood/mean_per_class")


def test_validation_classes_are_asked_before_seen_ones_stand_in_for_unseen_ones() -> None:
    rising, flat = line(0.2, 0.5) + noise(0.005, 0), 0.3 + noise(0.002, 0)
    known = {"select__m_rel": line(0.1, 0.5), "select__mean_per_class": rising}
    assert alarms(history(**known)) == []
    assert alarms(history(**known, select__unseen_mean_per_class=rising)) == []
    [found] = alarms(history(**known, select__unseen_mean_per_class=flat))
    assert found.name == "coherence_without_ood"
    assert "while select/unseen_mean_per_class does not" in found.message
    of_seen = history(select__m_rel=line(0.1, 0.5), select__mean_per_class=flat, select__unseen_mean_per_class=rising)
    assert alarms(of_seen) == []


def test_coherence_that_rises_with_unseen_classes_is_what_it_is_for() -> None:
    rising = line(0.2, 0.5) + noise(0.005, 0)
    assert alarms(history(train__m_rel=line(0.1, 0.5), train__m_neigh=line(0.1, 0.4), ood__mean_per_class=rising)) == []


def test_a_filter_that_keeps_under_a_quarter_is_told_at_once_and_again_after_a_pause() -> None:
    kept = [0.6, 0.25, 0.249, 0.1, 0.3, 0.2] + 10 * [0.5] + [0.24]
    found = alarms([{"train/vlprox.kept_fraction": value} for value in kept])
    assert [(alarm.name, alarm.epoch) for alarm in found] == [("filter_keeps_little", 3), ("filter_keeps_little", 17)]
    assert found[0].message == (
        "train/vlprox.kept_fraction is 0.249 in epoch 3, under 0.25: the loss sees few of the images"
    )


def test_epochs_without_an_evaluation_are_no_part_of_a_window() -> None:
    held_out = np.full(50, np.nan)
    held_out[4::5] = line(0.5, 0.3, 10)  # every fifth epoch: ten values
    found = alarms(history(train__accuracy=line(0.3, 0.9, 50), ood__mean_per_class=held_out))
    assert [(alarm.name, alarm.epoch) for alarm in found] == [("overfitting", 50)]
    assert "over epochs 5 to 50" in found[0].message


def test_alarms_of_a_prefix_are_a_prefix() -> None:
    rows = history(
        train__accuracy=line(0.3, 0.9, 40) + noise(0.02, 1, 40),
        ood__mean_per_class=0.4 + 0.1 * np.sin(np.arange(40) / 5) + noise(0.01, 2, 40),
        ood__m_neigh=line(0.1, 0.5, 40) + noise(0.02, 3, 40),
    )
    whole = alarms(rows)
    assert {alarm.name for alarm in whole} == {"overfitting", "coherence_without_ood"}
    for length in range(41):
        assert alarms(rows[:length]) == [alarm for alarm in whole if alarm.epoch <= length]
        assert alarms(rows[:length], newest=True) == [alarm for alarm in whole if alarm.epoch == length]


def test_the_newest_alarms_of_a_long_spell_are_told_at_its_start_only() -> None:
    held_out = np.concatenate([np.full(12, 0.5), np.linspace(0.5, 0.1, 30)])
    rows = history(train__accuracy=line(0.2, 0.9, 42), select__mean_per_class=held_out)
    told = [alarm.epoch for length in range(43) for alarm in alarms(rows[:length], newest=True)]
    assert told == [alarm.epoch for alarm in alarms(rows)]
    assert len(told) == 1


def test_a_short_history_or_one_without_these_metrics_raises_nothing() -> None:
    short = history(train__accuracy=line(0.1, 0.9, 9), ood__mean_per_class=line(0.9, 0.1, 9))
    assert alarms(short) == []
    assert [alarm.epoch for alarm in alarms(short, AlarmSettings(window=7))] == [7]
    assert alarms([]) == []
    assert alarms(history(speed__images_per_s=line(1, 9))) == []


def test_a_window_that_no_trend_could_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="no trend over 6 epochs reaches"):
        AlarmSettings(window=6)
