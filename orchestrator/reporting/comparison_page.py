"""A comparison of students as a page: words and tables first, then figures.

Reads and writes nothing. Knows nothing of artifacts.
"""

import html
import math
from typing import Any

import plotly.graph_objects as go

from orchestrator.reporting.comparison import COMPARED, Comparison, caution, difference_parts, value_parts, words
from orchestrator.reporting.data import ReportData
from orchestrator.reporting.figures import PALETTE, accuracy_by_frequency, finish, learning_curves
from orchestrator.reporting.page import render_page


def render_comparison(data: Comparison) -> str:
    """The page as text."""
    arms = ReportData(data.title, data.created_utc, tuple(side.arm for side in data.sides))
    figures = {"differences": difference_figure(data), "frequency": accuracy_by_frequency(arms)}
    curves = {f"curve:{metric}": figure for metric, figure in learning_curves(arms).items()}
    return render_page(
        "comparison.html",
        {**figures, **curves},
        data=data,
        title=data.title,
        words=words(data),
        warnings=data.warnings,
        caution=caution(data),
        headings=[COMPARED[group] for group in data.groups],
        rows=_rows(data),
        measures=_measures(data),
        classes=_classes(data),
        curves=list(curves),
    )


def _rows(data: Comparison) -> list[dict[str, Any]]:
    differences = {difference.name: difference for difference in data.differences}
    rows = []
    for side in data.sides:
        row: dict[str, Any] = {"name": side.arm.name, "values": [value_parts(side, group) for group in data.groups]}
        row |= {"description": side.arm.description, "seeds": side.seeds}
        if (difference := differences.get(side.arm.name)) is not None:
            row["differences"] = [
                (*difference_parts(difference, group), difference.verdict(group)) for group in data.groups
            ]
        rows.append(row)
    return rows


def _measures(data: Comparison) -> list[tuple[str, list[float]]]:
    names = sorted({name for side in data.sides for name in side.measures})
    return [(name, [side.measures.get(name, math.nan) for side in data.sides]) for name in names]


def _classes(data: Comparison) -> list[dict[str, Any]]:
    """One row for each class, most frequent first: accuracies of the sides, and who wins against the first."""
    winners = [{one.label: one for one in difference.winners} for difference in data.differences]
    by_side = [{one.label: one for one in side.arm.per_class} for side in data.sides]
    first = sorted(data.sides[0].arm.per_class, key=lambda one: (-one.train_count, one.label))
    rows = []
    for one in first:
        won = [
            "" if known.get(one.label) is None or not known[one.label].winner
            else difference.name if known[one.label].winner == 1 else data.sides[0].arm.name
            for difference, known in zip(data.differences, winners, strict=True)
        ]  # fmt: skip
        accuracies = [known[one.label].accuracy if one.label in known else math.nan for known in by_side]
        rows.append({"name": one.name, "train_count": one.train_count, "accuracies": accuracies, "winners": won})
    return rows


def difference_figure(data: Comparison) -> go.Figure | None:
    """Differences to the first side with their intervals, by group; the line at zero is no difference."""
    figure = go.Figure()
    groups = list(data.groups)[::-1]
    for position, difference in enumerate(data.differences):
        x, low, high, y = [], [], [], []
        for group in groups:
            if (seeds := difference.over_seeds.get(group)) is not None:
                value, below, above = seeds.mean, seeds.half_width, seeds.half_width
            elif (interval := difference.over_images.get(group)) is not None:
                value, below, above = interval.value, interval.value - interval.low, interval.high - interval.value
            else:
                continue
            if math.isfinite(value):
                x.append(value)
                low.append(below)
                high.append(above)
                y.append(COMPARED[group])
        if x:
            figure.add_scatter(
                name=html.escape(difference.name), x=x, y=y, mode="markers",
                marker={"color": PALETTE[(position + 1) % len(PALETTE)], "size": 9},
                error_x={"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 2},
                hovertemplate="%{y}: %{x:+.1f} points<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    figure.add_vline(x=0, line_dash="dot", line_color="#8a8f98")
    if len(figure.data) > 1:
        figure.update_layout(scattermode="group")
    figure.update_layout(
        height=max(240, 44 * len(groups) * len(data.differences)), xaxis_title="difference, points", showlegend=True
    )
    return finish(figure)
