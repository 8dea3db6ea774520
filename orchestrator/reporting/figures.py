"""The figures of a report, as plotly figures: groups, accuracy by class frequency, learning curves, the sweep.

Reads and writes nothing and needs no network. Colours of text and background are left to the page, which follows the
reader's light or dark theme. Knows nothing of HTML.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.reporting.caption_quality import Histogram
from orchestrator.reporting.data import GROUPS, ArmResult, ReportData, SweepResult, number

# Okabe & Ito 2008, readable with colour-blindness; the first is for the baseline.
PALETTE = ("#8a8f98", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
SWEEP_SCALE = ((0.0, "#56B4E9"), (0.6, "#7a5cc4"), (1.0, "#D55E00"))  # each end shows on light and on dark
LOG_RATIO = 20  # a positive axis spanning more than this is drawn in powers of ten
FEW_VALUES = 6  # an axis with at most this many values gets a tick at each


def arm_colours(data: ReportData) -> dict[str, str]:
    """One colour per arm, the baseline grey."""
    ordered = sorted(data.arms, key=lambda arm: arm is not data.baseline)
    return {arm.name: PALETTE[index % len(PALETTE)] for index, arm in enumerate(ordered)}


def group_bars(data: ReportData) -> go.Figure:
    """Accuracy of every arm in each group of classes."""
    colours = arm_colours(data)
    figure = go.Figure()
    for name, colour in colours.items():
        arm = _arm(data, name)
        values = [arm.metrics.get(key, math.nan) for key in GROUPS]
        shown = [number(value) for value in values]
        figure.add_bar(
            name=html.escape(name),
            x=list(GROUPS.values()),
            y=values,
            text=shown,
            textposition="auto",
            marker_color=colour,
        )
    figure.update_layout(barmode="group", yaxis_title="accuracy, %", height=360)
    return finish(figure)


def accuracy_by_frequency(data: ReportData) -> go.Figure | None:
    """Accuracy of each class over its number of training images, with the mean of neighbouring classes as a line."""
    figure = go.Figure()
    for name, colour in arm_colours(data).items():
        classes = [one for one in _arm(data, name).per_class if math.isfinite(one.accuracy) and one.train_count > 0]
        classes.sort(key=lambda one: (one.train_count, one.label))
        if not classes:
            continue
        figure.add_scatter(
            name=html.escape(name),
            legendgroup=name,
            showlegend=False,
            mode="markers",
            x=[one.train_count for one in classes],
            y=[one.accuracy for one in classes],
            text=[html.escape(one.name) for one in classes],
            hovertemplate="%{text}: %{y:.1f} % with %{x} training images<extra></extra>",
            marker={"color": colour, "opacity": 0.45, "size": 7},
        )
        points = _neighbour_means([(one.train_count, one.accuracy) for one in classes])
        figure.add_scatter(
            name=html.escape(name),
            legendgroup=name,
            mode="lines",
            x=[x for x, _ in points],
            y=[y for _, y in points],
            line={"color": colour, "width": 3},
            hoverinfo="skip",
        )
    if not figure.data:
        return None
    figure.update_xaxes(type="log", title="training images of the class", dtick="D2")
    figure.update_layout(yaxis_title="accuracy, %", height=400)
    return finish(figure)


def _neighbour_means(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means over ten parts of the sorted classes: geometric in the count, arithmetic in the accuracy."""
    parts = min(10, len(points))
    means = []
    for index in range(parts):
        part = points[index * len(points) // parts : (index + 1) * len(points) // parts]
        count = math.exp(sum(math.log(x) for x, _ in part) / len(part))
        means.append((count, sum(y for _, y in part) / len(part)))
    return means


def learning_curves(data: ReportData) -> dict[str, go.Figure]:
    """One small figure for each metric that any arm has a number of, loss parts included; metric -> figure."""
    colours = arm_colours(data)
    curves = [
        (name, points) for arm in data.arms for name, points in arm.curves.items() if not name.startswith("cost/")
    ]
    metrics = sorted({name for name, points in curves if any(math.isfinite(value) for _, value in points)})
    figures = {}
    for metric in metrics:
        figure = go.Figure()
        for name, colour in colours.items():
            points = _arm(data, name).curves.get(metric, ())
            if points:
                x, y = [epoch for epoch, _ in points], [value for _, value in points]
                mode = "lines+markers" if len(points) < 3 else "lines"
                figure.add_scatter(name=html.escape(name), x=x, y=y, mode=mode, line={"color": colour, "width": 2})
        figure.update_layout(height=260, xaxis_title="epoch", showlegend=True)
        figures[metric] = finish(figure)
    return figures


def caption_histogram(histogram: Histogram | None, title: str) -> go.Figure | None:
    """Shares of captions over a measure as steps, one line for each prompt; None without a caption."""
    if histogram is None or not histogram.shares:
        return None
    figure = go.Figure()
    edges = list(histogram.edges)
    for number_of, (prompt, shares) in enumerate(histogram.shares.items()):
        figure.add_scatter(
            name=html.escape(prompt),
            x=[edges[0], *edges],  # down to zero at both ends, so that steps close
            y=[0.0, *(100 * share for share in shares), 0.0],
            mode="lines",
            line={"shape": "hv", "width": 2, "color": PALETTE[(number_of + 1) % len(PALETTE)]},
        )
    figure.update_layout(height=280, xaxis_title=title, yaxis_title="captions, %", showlegend=True)
    return finish(figure)


def parallel_coordinates(sweep: SweepResult) -> go.Figure | None:
    """Every finished trial as a line through its settings to its objective, coloured by the objective."""
    trials = [trial for trial in sweep.trials if math.isfinite(trial.objective)]
    if not trials:
        return None
    paths = sorted({path for trial in trials for path in trial.values})
    labels = _short_names(paths)
    axes = [_axis(labels[path], [trial.values.get(path) for trial in trials]) for path in paths]
    objectives = [trial.objective for trial in trials]
    axes.append(_axis(_short_names([sweep.metric])[sweep.metric], objectives))
    low, high = min(objectives), max(objectives)
    line = {
        "color": objectives,
        "colorscale": SWEEP_SCALE,
        "reversescale": sweep.mode == "min",
        "showscale": True,
        "cmin": low,
        "cmax": high if high > low else low + 1,
        "colorbar": {"thickness": 12, "title": {"text": ""}},
    }
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelfont={"size": 13}, tickfont={"size": 11}))
    figure.update_layout(height=420)
    finish(figure)
    figure.update_layout(margin={"l": 70, "r": 30, "t": 60, "b": 30})
    return figure


def _axis(label: str, values: Sequence[Any]) -> dict[str, Any]:
    """One axis: numbers (in powers of ten when they span much), or categories in their order; missing is "none"."""
    axis: dict[str, Any] = {"label": html.escape(label)}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        names = sorted({"none" if value is None else str(value) for value in values})
        positions = [names.index("none" if value is None else str(value)) for value in values]
        drawn = _with_ticks(positions, list(range(len(names))), [html.escape(name) for name in names])
        return axis | drawn | {"range": [-0.25, len(names) - 0.75]}
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    distinct = sorted(set(numbers))
    if low > 0 and high / low >= LOG_RATIO:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [float(power) for power in powers]
        return axis | _with_ticks([math.log10(value) for value in numbers], ticks, [f"{10**tick:g}" for tick in ticks])
    if len(distinct) <= FEW_VALUES:
        return axis | _with_ticks(numbers, distinct, [f"{value:.4g}" for value in distinct])
    return axis | {"values": numbers}


def _with_ticks(values: Sequence[float], ticks: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    low, high = min(ticks), max(ticks)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return {"values": list(values), "tickvals": list(ticks), "ticktext": list(texts), "range": [low, high]}


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """The shortest ending of each dotted path that tells it from the others, at least two parts long."""
    names = {}
    for path in paths:
        parts = path.split(".")
        for length in range(min(2, len(parts)), len(parts) + 1):
            ending = ".".join(parts[-length:])
            if sum(f".{other}".endswith(f".{ending}") for other in paths) == 1:
                break
        names[path] = ending
    return names


def _arm(data: ReportData, name: str) -> ArmResult:
    return next(arm for arm in data.arms if arm.name == name)


def finish(figure: go.Figure) -> go.Figure:
    """The look that all figures share; colours of text are the page's."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 55, "r": 15, "t": 30, "b": 45},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
