"""Sweeps beside each other: as plain frozen data, in words, as a terminal's table and as a page.

Reads and writes nothing. Knows nothing of artifacts.
"""

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from orchestrator.evaluation.paired import PairedDifference
from orchestrator.reporting.comparison import NOT_DISTINGUISHABLE, SettingRow, as_json
from orchestrator.reporting.figures import PALETTE, finish
from orchestrator.reporting.page import cell, render_page
from orchestrator.search.answers import Answers, listed


@dataclass(frozen=True)
class SweepSide:
    """One sweep.

    Attributes:
        counts: trials by status.
        best: objectives of the best trial.
        best_so_far: (trials ended, best first objective until then) of the trials that ran to their end, by number.
        seconds: that the trials took together.
    """

    name: str
    answers: Answers
    counts: Mapping[str, int]
    best: Mapping[str, float]
    best_so_far: tuple[tuple[int, float], ...]
    seconds: float


@dataclass(frozen=True)
class SweepComparison:
    """Everything that a comparison of sweeps shows; the first is what the others are compared with.

    Attributes:
        paired: of each other sweep, its first objective minus the first sweep's on configurations that both tried; None
            for fewer than two.
    """

    title: str
    created_utc: str
    sides: tuple[SweepSide, ...]
    paired: tuple[PairedDifference | None, ...]
    settings: tuple[SettingRow, ...]
    warnings: tuple[str, ...]
    command: str

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """(what, a cell for each sweep) of the table."""
        found = [("trials", [", ".join(f"{n} {status}" for status, n in side.counts.items()) for side in self.sides])]
        for name in self.sides[0].answers.objectives:
            found.append((f"best {name}", [cell(side.best.get(name, math.nan)) for side in self.sides]))
        found.append(("best configuration", [listed(side.answers.values) for side in self.sides]))
        found.append(("seconds of all trials", [cell(round(side.seconds)) for side in self.sides]))
        shares = [
            {one.path: one for one in side.answers.importance.get(next(iter(side.answers.objectives)), ())}
            for side in self.sides
        ]
        for path in dict.fromkeys(path for each in shares for path in each):
            told = [
                f"{100 * each[path].share:.0f} % ({100 * each[path].low:.0f} to {100 * each[path].high:.0f})"
                if path in each
                else ""
                for each in shares
            ]
            found.append((f"importance of {path}", told))
        return found


def sweep_words(data: SweepComparison) -> tuple[str, ...]:
    """The comparison in sentences."""
    metric = next(iter(data.sides[0].answers.objectives))
    told = ", ".join(f"{side.name} {cell(side.best.get(metric, math.nan))}" for side in data.sides)
    found = [f"Best {metric}: {told}."]
    for side, paired in zip(data.sides[1:], data.paired, strict=True):
        if paired is None:
            found.append(
                f"{side.name} and {data.sides[0].name} share no two configurations, and a best trial is lucky as well "
                "as good: whether their best ones differ, their best.yaml say, when both are trained and compared."
            )
            continue
        verdict = f"{paired.mean:+.4g} ± {paired.half_width:.2g}"
        found.append(
            f"On the {paired.num_pairs} configurations that {side.name} and {data.sides[0].name} share, {metric} "
            + (f"differs by {verdict}." if paired.excludes_zero else f"is {NOT_DISTINGUISHABLE} ({verdict}).")
        )
    return tuple(found)


def sweep_comparison_table(data: SweepComparison) -> Table:
    """A rich table with a column for each sweep."""
    table = Table(box=SIMPLE, title=data.title)
    table.add_column("")
    for side in data.sides:
        table.add_column(Text(side.name), overflow="fold")
    for what, cells in data.rows:
        table.add_row(Text(what), *(Text(one) for one in cells))
    return table


def sweep_comparison_json(data: SweepComparison) -> dict[str, Any]:
    """Everything as JSON values."""
    return {**as_json(asdict(data)), "words": list(sweep_words(data))}


def render_sweep_comparison(data: SweepComparison) -> str:
    """The page as text."""
    figure = go.Figure()
    for position, side in enumerate(data.sides):
        figure.add_scatter(
            name=html.escape(side.name), mode="lines", line={"color": PALETTE[position % len(PALETTE)], "shape": "hv"},
            x=[number for number, _ in side.best_so_far], y=[value for _, value in side.best_so_far],
        )  # fmt: skip
    metric = next(iter(data.sides[0].answers.objectives))
    figure.update_layout(height=360, xaxis_title="trials", yaxis_title=f"best {html.escape(metric)} so far")
    return render_page(
        "sweeps.html", {"best_so_far": finish(figure)}, title=data.title, words=sweep_words(data),
        warnings=data.warnings, data=data, metric=metric,
    )  # fmt: skip
