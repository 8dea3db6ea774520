"""What a report is made of, as plain frozen data, and the comparison that all its forms share.

Reads and writes one JSON file. Knows nothing of HTML, of figures or of where the numbers came from.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import TypeAdapter

from orchestrator.reporting.caption_quality import CaptionCard, CaptionQuality
from orchestrator.reporting.sections import Export, Licence, Mistakes, PaidRows, Spaces
from orchestrator.search.answers import Answers

GROUPS = {"all": "All", "many": "Many", "medium": "Medium", "few": "Few"}  # metric -> heading
MEAN_PER_CLASS = "mean_per_class"


class ClassResult(NamedTuple):
    """One class: label, name, number of training images, accuracy in percent (nan when it has no test image)."""

    label: int
    name: str
    train_count: int
    accuracy: float


@dataclass(frozen=True)
class ArmResult:
    """One trained student on the report split.

    `metrics`: all, many, medium, few, mean_per_class in percent (nan or absent: not measured); with unseen classes also
    seen_... and unseen_....
    `measures`: whatever else was measured, in its own unit.
    `alarms`: what a person should look at, in words.
    `curves`: metric -> ((epoch, value), ...), losses by part included.
    """

    name: str
    metrics: Mapping[str, float]
    per_class: tuple[ClassResult, ...] = ()
    curves: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    description: str = ""
    alarms: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialRow:
    """One trial: the swept values by dotted path, its objective (nan when it has none), status and epochs trained."""

    trial_id: str
    values: Mapping[str, float | int | str | bool]
    objective: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    status: str = ""
    epochs: int = 0


@dataclass(frozen=True)
class SweepResult:
    """A sweep: its trials, what they were judged by, the id of the best one ("" when none finished), its answers."""

    trials: tuple[TrialRow, ...]
    metric: str
    mode: Literal["max", "min"]
    best: str = ""
    answers: Answers | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows. `summary` are paragraphs; when empty, the numbers are put in words.

    The arm called "baseline" is what the others are compared with; without one, the first arm.
    """

    title: str
    created_utc: str
    arms: tuple[ArmResult, ...]
    summary: tuple[str, ...] = ()
    sweep: SweepResult | None = None
    captions: tuple[CaptionCard, ...] = ()
    caption_quality: CaptionQuality | None = None
    spaces: Spaces = field(default_factory=Spaces)
    mistakes: tuple[Mistakes, ...] = ()
    economics: tuple[PaidRows, ...] = ()
    exports: tuple[Export, ...] = ()
    licences: tuple[Licence, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    counts: Mapping[str, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> ArmResult | None:
        """The arm that the others are compared with; None when there is no arm."""
        return next((arm for arm in self.arms if arm.name == "baseline"), self.arms[0] if self.arms else None)


@dataclass(frozen=True)
class ComparisonRow:
    """One arm in the table: values in percent, its differences to the baseline in points (None: it is the baseline)."""

    name: str
    values: tuple[float, ...]
    differences: tuple[float, ...] | None


def comparison(data: ReportData) -> tuple[tuple[str, ...], tuple[ComparisonRow, ...]]:
    """Headings (All, Many, Medium, Few, and the mean per class when an arm has it) and one row for each arm, baseline
    first."""
    keys = list(GROUPS)
    headings = list(GROUPS.values())
    if any(MEAN_PER_CLASS in arm.metrics for arm in data.arms):
        keys.append(MEAN_PER_CLASS)
        headings.append("Mean per class")
    reference = data.baseline
    rows = []
    for arm in sorted(data.arms, key=lambda candidate: candidate is not reference):
        values = tuple(float(arm.metrics.get(key, math.nan)) for key in keys)
        differences = None
        if reference is not None and arm is not reference:
            pairs = zip(keys, values, strict=True)
            differences = tuple(value - float(reference.metrics.get(key, math.nan)) for key, value in pairs)
        rows.append(ComparisonRow(arm.name, values, differences))
    return tuple(headings), tuple(rows)


def number(value: float, digits: int = 1) -> str:
    """A value as text; "n/a" when it is not a number."""
    return f"{_no_negative_zero(value, digits):.{digits}f}" if math.isfinite(value) else "n/a"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign; "n/a" when it is not a number."""
    if not math.isfinite(value):
        return "n/a"
    value = _no_negative_zero(value, digits)
    return f"{value:+.{digits}f}" if value else f"{0:.{digits}f}"


def _no_negative_zero(value: float, digits: int) -> float:
    return round(value, digits) + 0.0


def summary_of(data: ReportData) -> tuple[str, ...]:
    """The summary that was given, or else the comparison in words, one sentence for each arm."""
    if data.summary:
        return data.summary
    headings, rows = comparison(data)
    if not rows:
        return ("No student was trained.",)
    first = rows[0]
    sentences = [
        f"{first.name} reaches "
        + ", ".join(f"{name} {number(value)} %" for name, value in zip(headings, first.values, strict=True))
        + "."
    ]
    for row in rows[1:]:
        assert row.differences is not None
        parts = zip(headings, row.values, row.differences, strict=True)
        sentences.append(
            f"{row.name} reaches "
            + ", ".join(f"{name} {number(value)} % ({signed(difference)})" for name, value, difference in parts)
            + f"; in brackets the difference to {first.name} in points."
        )
    return tuple(sentences)


def write_report_data(data: ReportData, path: Path) -> None:
    """Write the data as one JSON file."""
    path.write_text(json.dumps(asdict(data), ensure_ascii=False, indent=1), encoding="utf-8")


def read_report_data(path: Path) -> ReportData:
    """Read what `write_report_data` wrote."""
    return TypeAdapter(ReportData).validate_python(json.loads(path.read_text(encoding="utf-8")))
