"""The answers of a sweep as a page: words and tables first, then figures. And as a terminal's table.

Reads and writes nothing. Knows nothing of artifacts.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from orchestrator.reporting.data import SweepResult, TrialRow
from orchestrator.reporting.figures import PALETTE, finish, parallel_coordinates
from orchestrator.reporting.page import render_page
from orchestrator.search.answers import Answers, shown
from orchestrator.search.trial import TrialResult


def render_sweep(
    title: str, question: Sequence[str], found: Answers, trials: Sequence[TrialResult], swept: SweepResult
) -> str:
    """The page as text.

    Args:
        question: what the sweep asked and what was expected, in sentences.
        swept: the same trials as the report has them.
    """
    return render_page(
        "sweep.html",
        page_figures(found, trials, swept),
        title=title,
        words=found.words,
        warnings=found.warnings,
        question=question,
        found=found,
        importance=found.importance,
        trials=sorted(trials, key=lambda trial: (trial.number != found.best, trial.number)),
        paths=_paths(trials),
        shown=shown,
    )


def page_figures(found: Answers, trials: Sequence[TrialResult], swept: SweepResult) -> dict[str, Any]:
    """Every figure of the page by name: those of a report, and the first objective over each setting."""
    told = [trial for trial in trials if all(_finite(trial, name) for name in found.objectives)]
    slices = {f"slice:{path}": slice_figure(found, told, path) for path in _paths(trials)}
    drawn = {**sweep_figures(replace(swept, answers=found)), **slices}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _paths(trials: Sequence[TrialResult]) -> list[str]:
    return list(dict.fromkeys(path for trial in trials for path in trial.values))


def sweep_figures(swept: SweepResult) -> dict[str, Any]:
    """Parallel coordinates, and of a sweep with answers its Pareto front and the importance of settings, by name."""
    figures: dict[str, Any] = {"sweep": parallel_coordinates(swept)}
    if (found := swept.answers) is not None:
        figures["front"] = front_figure(found, swept)
        figures |= {f"importance:{name}": importance_figure(found, name) for name in found.objectives}
    return figures


def _finite(trial: TrialResult | TrialRow, name: str) -> bool:
    return math.isfinite(trial.metrics.get(name, math.nan))


def front_figure(found: Answers, swept: SweepResult) -> go.Figure | None:
    """Trials by the first two objectives, those on the front joined; None for one objective."""
    trials = [trial for trial in swept.trials if all(_finite(trial, name) for name in found.objectives)]
    if len(found.objectives) < 2 or not trials:
        return None
    x, y = list(found.objectives)[:2]
    figure = go.Figure()
    front = sorted((trial for trial in trials if int(trial.trial_id) in found.front), key=lambda one: one.metrics[x])
    rest = [trial for trial in trials if int(trial.trial_id) not in found.front]
    for name, some, colour, mode in (
        ("other trials", rest, PALETTE[0], "markers"),
        ("Pareto front", front, PALETTE[1], "lines+markers" if len(found.objectives) == 2 else "markers"),
    ):
        figure.add_scatter(
            name=name, mode=mode, x=[one.metrics[x] for one in some], y=[one.metrics[y] for one in some],
            text=[_told(int(one.trial_id), one, found.objectives) for one in some],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": colour, "size": 9}, line={"color": colour, "shape": "hv", "width": 1},
        )  # fmt: skip
    figure.update_layout(height=380, xaxis_title=html.escape(x), yaxis_title=html.escape(y), showlegend=True)
    return finish(figure)


def _told(number: int, trial: TrialResult | TrialRow, objectives: Mapping[str, str]) -> str:
    reached = [f"{name} {trial.metrics[name]:.4g}" for name in objectives]
    given = [f"{path} {shown(value)}" for path, value in trial.values.items()]
    return html.escape(f"trial {number}: " + ", ".join([*reached, *given])).replace(", ", "<br>")


def importance_figure(found: Answers, objective: str) -> go.Figure | None:
    """Shares of the explained variance as bars with their ranges."""
    rows = found.importance.get(objective, ())[::-1]
    if not rows:
        return None
    figure = go.Figure()
    figure.add_bar(
        x=[100 * one.share for one in rows], y=[html.escape(one.path) for one in rows], orientation="h",
        marker_color=PALETTE[1],
        error_x={
            "type": "data", "symmetric": False, "color": "#8a8f98",
            "array": [100 * max(0.0, one.high - one.share) for one in rows],
            "arrayminus": [100 * max(0.0, one.share - one.low) for one in rows],
        },
        hovertemplate="%{y}: %{x:.0f} %<extra></extra>",
    )  # fmt: skip
    figure.update_layout(height=90 + 36 * len(rows), xaxis_title="share of the explained variance, %")
    figure.update_xaxes(range=[0, 105])
    return finish(figure)


def slice_figure(found: Answers, trials: Sequence[TrialResult], path: str) -> go.Figure | None:
    """The first objective over one setting, a point for each finished trial."""
    objective = next(iter(found.objectives))
    points = [trial for trial in trials if path in trial.values and trial.status == "finished"]
    values = [trial.values[path] for trial in points]
    if len({repr(value) for value in values}) < 2:
        return None
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    figure = go.Figure()
    figure.add_scatter(
        mode="markers", x=values if numeric else [html.escape(shown(value)) for value in values],
        y=[trial.metrics[objective] for trial in points],
        text=[_told(trial.number, trial, found.objectives) for trial in points],
        hovertemplate="%{text}<extra></extra>", marker={"color": PALETTE[1], "size": 8, "opacity": 0.7},
    )  # fmt: skip
    if numeric and min(values) > 0 and max(values) / min(values) >= 20:
        figure.update_xaxes(type="log")
    figure.update_layout(height=260, xaxis_title=html.escape(path), yaxis_title=html.escape(objective))
    return finish(figure)


def answers_table(found: Answers) -> Table:
    """For a terminal: the importance of each setting for each objective, with its range, in percent."""
    table = Table(box=SIMPLE, title="What the objectives vary with: share of the explained variance, %")
    table.add_column("setting")
    for name in found.objectives:
        table.add_column(Text(name), justify="right")
    by_path = {name: {one.path: one for one in rows} for name, rows in found.importance.items()}
    for path in dict.fromkeys(one.path for rows in found.importance.values() for one in rows):
        cells = [by_path[name].get(path) for name in found.objectives]
        told = [
            "" if one is None else f"{100 * one.share:.0f} ({100 * one.low:.0f} to {100 * one.high:.0f})"
            for one in cells
        ]
        table.add_row(Text(path), *told)
    return table
