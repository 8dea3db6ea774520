"""The figures of a page as PNG files, for places that show pictures and run no script: MLflow, slides, papers.

Draws with matplotlib what plotly figures of ours hold: bars, lines, points, heat maps, parallel coordinates. Writes one
file for each figure. Knows nothing of what they show.
"""

import html
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

FOLDER = "figures"
INCHES, DOTS = 7.0, 100  # of a picture's width, and in an inch
PIXELS = 100  # of a page's figure, in an inch of a picture
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "cross": "P", "x": "X", "triangle-up": "^", "star": "*",
}  # fmt: skip


def write_pictures(figures: Mapping[str, Any], folder: Path) -> Path:
    """Write `folder/figures/TITLE.png` for each plotly figure by its title, in place of those that were there.

    Returns `folder/figures`.
    Letters that matplotlib's font lacks are drawn as boxes; the page has them.
    """
    target = folder / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for title, figure in figures.items():
        name = re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            draw(title, figure).savefig(target / f"{name}.png", dpi=DOTS)
    return target


def draw(title: str, figure: Any) -> Figure:
    """The matplotlib figure of a plotly figure."""
    picture = Figure(figsize=(INCHES, float(figure.layout.height or 300) / PIXELS + 0.4), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot(title=_plain(title.replace(":", ": ")))
    if figure.data and figure.data[0].type == "parcoords":
        _parallel(axes, figure.data[0])
        return picture
    axes.set_xlabel(_plain(figure.layout.xaxis.title.text))
    axes.set_ylabel(_plain(figure.layout.yaxis.title.text))
    bars = [trace for trace in figure.data if trace.type == "bar"]
    for trace in figure.data:
        if trace.type == "heatmap":
            _heat(axes, trace)
        elif trace.type == "bar":
            _bar(axes, trace, bars.index(trace), len(bars))
        else:
            _scatter(axes, trace)
    for name, axis in (("x", figure.layout.xaxis), ("y", figure.layout.yaxis)):
        if axis.type == "log":
            axes.set(**{f"{name}scale": "log"})
        if axis.range is not None:
            axes.set(**{f"{name}lim": axis.range})
        if axis.showticklabels is False:
            axes.set(**{f"{name}ticks": []})
    if figure.layout.yaxis.scaleanchor:
        axes.set_aspect("equal", adjustable="datalim")
    names = axes.get_legend_handles_labels()[1]
    if names and figure.layout.showlegend is not False:
        picture.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    return picture


def _scatter(axes: Axes, trace: Any) -> None:
    lines, points = "lines" in (trace.mode or ""), "markers" in (trace.mode or "")
    colour = trace.line.color if lines and trace.line.color else trace.marker.color
    axes.plot(
        [_plain(one) if isinstance(one, str) else one for one in trace.x], trace.y,
        color=_colour(colour),
        alpha=trace.marker.opacity,
        linestyle="-" if lines else "none",
        linewidth=trace.line.width or 1.5,
        drawstyle={"hv": "steps-post"}.get(trace.line.shape or "", "default"),
        marker=MARKERS[trace.marker.symbol or "circle"] if points else "none",
        markersize=0.7 * (trace.marker.size or 6),
        label=_label(trace),
    )  # fmt: skip


def _bar(axes: Axes, trace: Any, number: int, of: int) -> None:
    if trace.orientation == "h":
        errors = [trace.error_x.arrayminus, trace.error_x.array]
        axes.barh([_plain(one) for one in trace.y], trace.x, xerr=errors, color=_colour(trace.marker.color), capsize=3)
        return
    width = 0.8 / of
    places = np.arange(len(trace.x)) - 0.4 + width * (number + 0.5)
    drawn = axes.bar(places, trace.y, width, color=_colour(trace.marker.color), label=_label(trace))
    axes.bar_label(drawn, labels=list(trace.text), fontsize="x-small")
    axes.set_xticks(range(len(trace.x)), list(trace.x))


def _heat(axes: Axes, trace: Any) -> None:
    colours = LinearSegmentedColormap.from_list("heat", [(at, _colour(colour)) for at, colour in trace.colorscale])
    axes.imshow(trace.z, cmap=colours, vmin=trace.zmin, vmax=trace.zmax, aspect="auto", origin="lower")
    axes.set_xticks(range(len(trace.x)), [_plain(one) for one in trace.x], rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(len(trace.y)), [_plain(one) for one in trace.y], fontsize="small")


def _parallel(axes: Axes, trace: Any) -> None:
    """Every axis is scaled to its own range, its ticks written beside it."""
    scale = [(at, _colour(colour)) for at, colour in trace.line.colorscale]
    colours = LinearSegmentedColormap.from_list("sweep", scale)
    shades = ScalarMappable(
        Normalize(trace.line.cmin, trace.line.cmax), colours.reversed() if trace.line.reversescale else colours
    )
    heights = []
    for place, one in enumerate(trace.dimensions):
        low, high = one.range or (min(one.values), max(one.values))
        span = high - low or 1.0
        heights.append([(value - low) / span for value in one.values])
        ticks = dict(zip(one.tickvals, one.ticktext, strict=True)) if one.tickvals else {
            low: f"{low:.4g}", high: f"{high:.4g}"
        }  # fmt: skip
        axes.axvline(place, color="black", linewidth=0.8)
        for value, text in ticks.items():
            axes.text(place + 0.02, (value - low) / span, _plain(text), fontsize="x-small", va="center")
    for line, shade in zip(np.transpose(heights), shades.to_rgba(np.asarray(trace.line.color)), strict=True):
        axes.plot(line, color=shade, linewidth=1.2)
    axes.set_xticks(range(len(heights)), [_plain(one.label) for one in trace.dimensions], fontsize="small")
    axes.set_yticks([])
    axes.figure.colorbar(shades, ax=axes)


def _label(trace: Any) -> str:
    return "_nolegend_" if trace.showlegend is False or not trace.name else _plain(trace.name)


def _plain(text: str | None) -> str:
    """A page's text as matplotlib's: no HTML, and a dollar sign is no formula."""
    return html.unescape(text or "").replace("$", r"\$")


def _colour(colour: str) -> Any:
    """A colour of a page as matplotlib's."""
    if not colour.startswith("rgba("):
        return colour
    *parts, opacity = (float(part) for part in colour[5:-1].split(","))
    return (*(part / 255 for part in parts), opacity)
