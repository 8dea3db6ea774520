"""Alarms over a run's history: what a person should look at, in plain words and with the numbers.

Holds pure functions of a history (`history.json`: one dict of metrics for each epoch). Reads and writes nothing. The
three alarms are those of methods 16.7; windows and thresholds are ours, and are these:

A metric rises (falls) at an epoch when over the last `window` epochs that have it the Theil-Sen slope (the median of
all pairwise slopes) makes at least `least_change` over the window and a one-sided Mann-Kendall test rejects chance at
`significance`. A single outlier moves neither. An alarm is raised at the first epoch at which its condition holds, and
again only when it did not hold for `window` epochs in between. So alarms of a prefix of a history are a prefix.

The defaults are from simulated runs. Over 90 epochs of rising training accuracy beside a level held-out accuracy that
wavers with a standard deviation of 1 point, 2.5 % of runs raise a false alarm (at a significance of 0.05, 86 %). A fall
of 1 point an epoch that begins at epoch 16 is told at epoch 23, one of half a point at 27 (medians of 200 runs).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from orchestrator.frozen import Frozen

History = Sequence[Mapping[str, float]]


class AlarmSettings(Frozen):
    """Which metrics are watched (shell patterns), and when a change counts. Accuracies are fractions, 0..1.

    Attributes:
        training: training accuracy. Without such a metric a falling `training_loss` stands in, its change as a
            fraction of its value at the window's start.
        held_out: accuracies that must not fall while training improves.
        ood: accuracies on unseen classes, which should rise when coherence does.
        coherence: M_rel and M_neigh.
        kept: fractions of images that a filter keeps.
        window: epochs with values that a trend is read from; a shorter history raises no trend alarm.
        least_change: over the window, to count as a rise or a fall.
        significance: of the trend test.
        least_kept: below it a filter keeps too little.
    """

    training: tuple[str, ...] = ("train/accuracy", "train/acc")
    training_loss: str = "train/loss"
    held_out: tuple[str, ...] = ("ood*/mean_per_class", "id_val*/mean_per_class", "select*/mean_per_class")
    ood: tuple[str, ...] = ("ood*/mean_per_class",)
    coherence: tuple[str, ...] = ("*/m_rel", "*/m_neigh")
    kept: tuple[str, ...] = ("train/*.kept_fraction",)
    window: int = Field(default=10, ge=5)
    least_change: float = Field(default=0.01, gt=0, le=1)
    significance: float = Field(default=0.001, gt=0, le=0.5)
    least_kept: float = Field(default=0.25, ge=0, le=1)

    @model_validator(mode="after")
    def _a_trend_can_be_certain(self) -> Self:
        if 1 / math.factorial(self.window) >= self.significance:
            raise ValueError(f"no trend over {self.window} epochs reaches a significance of {self.significance:g}")
        return self


@dataclass(frozen=True)
class Alarm:
    """One alarm: its `name` (overfitting, coherence_without_ood or filter_keeps_little), epoch (1-based), message."""

    name: str
    epoch: int
    message: str


@dataclass(frozen=True)
class _Trend:
    """Of one metric over a window: fitted values at its ends, and whether it rises or falls beyond chance."""

    start: float
    end: float
    rises: bool
    falls: bool


def alarms(history: History, settings: AlarmSettings | None = None) -> list[Alarm]:
    """All alarms of a run, in the order of their epochs.

    Args:
        history: for each epoch its metrics by name, with `epoch` (1-based; without it the position counts). A metric
            may be missing or NaN in some epochs; these are no part of its windows.
    """
    rules = settings or AlarmSettings()
    names = sorted({name for metrics in history for name in metrics})
    training = _matching(names, rules.training) or [rules.training_loss]
    held_out, ood = _matching(names, rules.held_out), _matching(names, rules.ood)
    coherence = _matching(names, rules.coherence)
    found = [alarm for name in _matching(names, rules.kept) for alarm in _kept_alarms(history, name, rules)]
    for first in training:
        found += [alarm for second in held_out for alarm in _overfitting(history, first, second, rules)]
    for first in coherence:
        found += [alarm for second in ood for alarm in _without_ood(history, first, second, rules)]
    return sorted(found, key=lambda alarm: (alarm.epoch, alarm.name, alarm.message))


def _overfitting(history: History, training: str, held_out: str, rules: AlarmSettings) -> list[Alarm]:
    is_loss = training == rules.training_loss
    told: list[tuple[int, str | None]] = []
    for epochs, first, second in _windows(history, training, held_out, rules.window):
        scale = abs(first[0]) or 1.0 if is_loss else 1.0
        known = _trend(epochs, [value / scale for value in first], rules)
        message = None
        if (known.falls if is_loss else known.rises) and (other := _trend(epochs, second, rules)).falls:
            message = (
                f"{training} {'falls' if is_loss else 'rises'} ({known.start * scale:.3f} to {known.end * scale:.3f}) "
                f"over epochs {epochs[0]} to {epochs[-1]} while {held_out} falls ({other.start:.3f} to "
                f"{other.end:.3f}): the student fits its training images at the cost of others"
            )
        told.append((epochs[-1], message))
    return _raised("overfitting", told, rules.window)


def _without_ood(history: History, coherence: str, ood: str, rules: AlarmSettings) -> list[Alarm]:
    """Coherence rises, and the fitted change of OOD is below `least_change`."""
    told: list[tuple[int, str | None]] = []
    for epochs, first, second in _windows(history, coherence, ood, rules.window):
        known = _trend(epochs, first, rules)
        message = None
        if known.rises:
            other = _trend(epochs, second, rules)
            if other.end - other.start < rules.least_change:
                message = (
                    f"{coherence} rises ({known.start:.3f} to {known.end:.3f}) over epochs {epochs[0]} to {epochs[-1]} "
                    f"while {ood} does not ({other.start:.3f} to {other.end:.3f}): the teacher's space is copied "
                    "without its use"
                )
        told.append((epochs[-1], message))
    return _raised("coherence_without_ood", told, rules.window)


def _kept_alarms(history: History, name: str, rules: AlarmSettings) -> list[Alarm]:
    told: list[tuple[int, str | None]] = []
    for epoch, (kept,) in _known(history, name):
        message = f"{name} is {kept:.3f} in epoch {epoch}, under {rules.least_kept:g}: the loss sees few of the images"
        told.append((epoch, message if kept < rules.least_kept else None))
    return _raised("filter_keeps_little", told, rules.window)


def _raised(name: str, told: Iterable[tuple[int, str | None]], window: int) -> list[Alarm]:
    """The first of each spell; a gap shorter than `window` evaluations does not end a spell."""
    found, last = [], -math.inf
    for index, (epoch, message) in enumerate(told):
        if message is not None:
            if index - last > window:
                found.append(Alarm(name, epoch, message))
            last = index
    return found


def _known(history: History, *names: str) -> list[tuple[int, tuple[float, ...]]]:
    """(epoch, values) of the epochs in which all of these metrics are numbers."""
    rows = [
        (int(metrics.get("epoch", index + 1)), tuple(metrics.get(name, math.nan) for name in names))
        for index, metrics in enumerate(history)
    ]
    return [(epoch, values) for epoch, values in rows if all(math.isfinite(value) for value in values)]


def _windows(
    history: History, first: str, second: str, window: int
) -> Iterable[tuple[list[int], list[float], list[float]]]:
    known = _known(history, first, second)
    for end in range(window, len(known) + 1):
        part = known[end - window : end]
        yield [epoch for epoch, _ in part], [values[0] for _, values in part], [values[1] for _, values in part]


def _trend(epochs: Sequence[int], values: Sequence[float], rules: AlarmSettings) -> _Trend:
    from scipy.stats import kendalltau

    time, value = np.asarray(epochs, float), np.asarray(values, float)
    earlier, later = np.triu_indices(len(time), 1)
    slope = float(np.median((value[later] - value[earlier]) / (time[later] - time[earlier])))
    change = slope * float(time[-1] - time[0])
    start = float(np.median(value - slope * (time - time[0])))
    counts = abs(change) >= rules.least_change
    if counts:  # the test is the slow part
        side = "greater" if change > 0 else "less"
        counts = float(kendalltau(time, value, alternative=side).pvalue) < rules.significance
    return _Trend(start, start + change, rises=counts and change > 0, falls=counts and change < 0)


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
