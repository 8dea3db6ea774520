"""A comparison of students as plain frozen data, in words, and in a terminal's table.

Reads and writes nothing. Knows nothing of HTML nor of where the numbers came from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from orchestrator.evaluation.paired import ClassWinner, Interval, PairedDifference
from orchestrator.reporting.data import GROUPS, ArmResult, number, signed

NOT_DISTINGUISHABLE = "not distinguishable"
COMPARED = {**GROUPS, "mean_per_class": "Mean per class"}


@dataclass(frozen=True)
class SettingRow:
    """A setting in which the sides differ: dotted path, and each side's value as text ("" where it has none)."""

    path: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class SideResult:
    """One side; accuracies in percent.

    Attributes:
        arm: metrics, accuracy by class and learning curves (of several seeds the means).
        intervals: over images, by group.
        measures: what else was measured of the student, by name.
        seeds: of the students behind it; empty for a single arm.
    """

    arm: ArmResult
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A side minus the first one, in points.

    Attributes:
        over_images: paired bootstrap over the report split's images, by group.
        over_seeds: Student's t over the seeds both were trained on, by group; empty for fewer than two.
        only_this, only_reference, p_value: images that one alone gets right, exact McNemar; None for several seeds.
        winners: by class; `winner` 1 is this side and 2 the first one. Empty for several seeds.
    """

    name: str
    over_images: Mapping[str, Interval] = field(default_factory=dict)
    over_seeds: Mapping[str, PairedDifference] = field(default_factory=dict)
    only_this: int | None = None
    only_reference: int | None = None
    p_value: float | None = None
    winners: tuple[ClassWinner, ...] = ()

    def verdict(self, group: str) -> str:
        """`better`, `worse`, `not distinguishable`, or "" where nothing can be said.

        Seeds decide where there are two or more, because they hold the chance of training too.
        """
        if group in self.over_seeds:
            found = self.over_seeds[group]
            if math.isnan(found.mean):
                return ""
            return _verdict(found.mean, found.excludes_zero)
        interval = self.over_images.get(group)
        if interval is None or math.isnan(interval.value):
            return ""
        return _verdict(interval.value, interval.excludes_zero)


def _verdict(value: float, excludes_zero: bool) -> str:
    return NOT_DISTINGUISHABLE if not excludes_zero else "better" if value > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison shows; the first side is what the others are compared with."""

    title: str
    created_utc: str
    sides: tuple[SideResult, ...]
    differences: tuple[Difference, ...]
    settings: tuple[SettingRow, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    num_images: int = 0
    command: str = ""
    confidence: float = 0.95

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups that any side has a value for."""
        return tuple(
            name for name in COMPARED if any(math.isfinite(side.arm.metrics.get(name, math.nan)) for side in self.sides)
        )


def words(data: Comparison) -> tuple[str, ...]:
    """The comparison in sentences, one for each side but the first."""
    reference, sentences = data.sides[0].arm.name, []
    for difference in data.differences:
        told = {group: difference.verdict(group) for group in data.groups}
        parts = [
            f"{word} on "
            + _listed([f"{COMPARED[group]} by {_shown(difference, group)}" for group in told if told[group] == word])
            for word in ("better", "worse")
            if word in told.values()
        ]
        open_ones = [COMPARED[group] for group, word in told.items() if word == NOT_DISTINGUISHABLE]
        if open_ones:
            parts.append(f"{NOT_DISTINGUISHABLE} on {_listed(open_ones)}")
        if not parts:
            parts = ["cannot be compared image by image"]
        by = f"over {len(_seeds(difference))} seeds" if difference.over_seeds else "over images"
        sentences.append(f"{difference.name} against {reference}, {by}: {'; '.join(parts)}.")
    return tuple(sentences)


def caution(data: Comparison) -> str:
    """What the intervals do not say."""
    if all(difference.over_seeds for difference in data.differences):
        return "Intervals over seeds hold the chance of training and of the images together."
    return (
        "Intervals over images say whether these students differ. Whether their settings do needs several seeds of "
        "each: orchestrator evidence."
    )


def _seeds(difference: Difference) -> range:
    return range(next(iter(difference.over_seeds.values())).num_pairs)


def _shown(difference: Difference, group: str) -> str:
    points, interval = difference_parts(difference, group)
    return f"{points} ({interval})" if interval else points


def difference_parts(difference: Difference, group: str) -> tuple[str, str]:
    """(points, interval) as text; `n/a` and nothing where there is no difference."""
    if (seeds := difference.over_seeds.get(group)) is not None:
        low, high = seeds.mean - seeds.half_width, seeds.mean + seeds.half_width
        return signed(seeds.mean), f"{signed(low)} to {signed(high)}" if math.isfinite(low) else ""
    found = difference.over_images.get(group, _NOTHING)
    return signed(found.value), "" if math.isnan(found.low) else f"{signed(found.low)} to {signed(found.high)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


_NOTHING = Interval(math.nan, math.nan, math.nan)


def comparison_tables(data: Comparison) -> Iterator[Table]:
    """For every side but the first a rich table: a row for each group, with accuracies, difference and verdict."""
    styles, sides = {"better": "green", "worse": "red"}, {side.arm.name: side for side in data.sides}
    reference = data.sides[0]
    for difference in data.differences:
        side = sides[difference.name]
        table = Table(
            box=SIMPLE, title=f"{side.arm.name} minus {reference.arm.name}, {100 * data.confidence:.0f} % intervals"
        )
        for heading in ("%", reference.arm.name, side.arm.name, "points", "interval", ""):
            left = heading in ("%", "")
            table.add_column(Text(heading), justify="left" if left else "right", overflow="fold", no_wrap=not heading)
        for group in data.groups:
            verdict = difference.verdict(group)
            accuracies = [number(one.arm.metrics[group]) for one in (reference, side)]
            points, interval = difference_parts(difference, group)
            told = Text(verdict, style=styles.get(verdict, "dim"))
            table.add_row(COMPARED[group], *accuracies, points, interval, told)
        yield table


def value_parts(side: SideResult, group: str) -> tuple[str, str]:
    """(accuracy, its interval over images) as text."""
    found = side.intervals.get(group, _NOTHING)
    told = "" if math.isnan(found.low) else f"{number(found.low)} to {number(found.high)}"
    return number(side.arm.metrics.get(group, math.nan)), told


def as_json(data: Any) -> Any:
    """The data as JSON values; what is not a number is null."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(name): as_json(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [as_json(value) for value in data]
    return data


def comparison_json(data: Comparison) -> dict[str, Any]:
    """Everything, with the verdicts."""
    found: dict[str, Any] = as_json(asdict(data))
    for row, difference in zip(found["differences"], data.differences, strict=True):
        row["verdicts"] = {group: difference.verdict(group) for group in data.groups}
    return {**found, "words": list(words(data))}
