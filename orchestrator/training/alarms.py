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

import numpy as np

from orchestrator.training.watch_settings import AlarmSettings
from orchestrator.vocabulary import UNSEEN_SELECTED_MEAN

OF_SEEN = "select/mean_per_class"  # stands in for an accuracy on unseen classes where none is told
History = Sequence[Mapping[str, float]]


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


def alarms(history: History, settings: AlarmSettings | None = None, *, newest: bool = False) -> list[Alarm]:
    """All alarms of a run, in the order of their epochs.

    Args:
        history: for each epoch its metrics by name, with `epoch` (1-based; without it the position counts). A metric
            may be missing or NaN in some epochs; these are no part of its windows.
        newest: only those of the last epoch, without looking at windows that cannot matter to them.
    """
    rules = settings or AlarmSettings()
    names = sorted({name for metrics in history for name in metrics})
    training = _matching(names, rules.training) or [rules.training_loss]
    held_out, ood = _matching(names, rules.held_out), _matching(names, rules.ood)
    if UNSEEN_SELECTED_MEAN in names:
        ood = [UNSEEN_SELECTED_MEAN if name == OF_SEEN else name for name in ood]
    coherence = _matching(names, rules.coherence)
    found = [alarm for name in _matching(names, rules.kept) for alarm in _kept_alarms(history, name, rules)]
    for first in training:
        found += [alarm for second in held_out for alarm in _overfitting(history, first, second, rules, newest)]
    for first in coherence:
        found += [alarm for second in ood for alarm in _without_ood(history, first, second, rules, newest)]
    if newest:
        last = _epoch_of(history, len(history) - 1) if history else 0
        found = [alarm for alarm in found if alarm.epoch == last]
    return sorted(found, key=lambda alarm: (alarm.epoch, alarm.name, alarm.message))


def _overfitting(history: History, training: str, held_out: str, rules: AlarmSettings, newest: bool) -> list[Alarm]:
    is_loss = training == rules.training_loss
    told: list[tuple[int, str | None]] = []
    for epochs, first, second in _windows(history, training, held_out, rules.window, newest):
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


def _without_ood(history: History, coherence: str, ood: str, rules: AlarmSettings, newest: bool) -> list[Alarm]:
    """Coherence rises, and the fitted change of OOD is below `least_change`."""
    told: list[tuple[int, str | None]] = []
    for epochs, first, second in _windows(history, coherence, ood, rules.window, newest):
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
        (_epoch_of(history, index), tuple(metrics.get(name, math.nan) for name in names))
        for index, metrics in enumerate(history)
    ]
    return [(epoch, values) for epoch, values in rows if all(math.isfinite(value) for value in values)]


def _epoch_of(history: History, index: int) -> int:
    return int(history[index].get("epoch", index + 1))


def _windows(
    history: History, first: str, second: str, window: int, newest: bool
) -> Iterable[tuple[list[int], list[float], list[float]]]:
    """The windows of epochs that have both metrics; `newest`: as many as decide whether the last one is told."""
    known = _known(history, first, second)
    for end in range(max(window, len(known) - window) if newest else window, len(known) + 1):
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
