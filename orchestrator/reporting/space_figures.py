"""The figures of spaces and of mistakes: planes by t-SNE, spectra of texts, and what classes are taken for.

Reads and writes nothing. Knows nothing of HTML.
"""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.reporting.figures import PALETTE, finish
from orchestrator.reporting.sections import Mistakes, Space, Spaces, Spectrum

MARKS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")  # with colours: 7 x 7 classes
MOST_COLUMNS = 20  # of a heat map
HEAT = ((0.0, "rgba(0,114,178,0.03)"), (1.0, "rgba(0,114,178,0.95)"))


def title_of(space: Space) -> str:
    """What a space is called."""
    return {"teacher": "Image teacher", "student": f"Student {space.name}", "text": f"Texts {space.name}"}[space.kind]


def plane_figure(space: Space, class_names: Sequence[str]) -> go.Figure:
    """One plane: a mark for each image (or text), by class in colour and shape."""
    figure = go.Figure()
    for number in sorted(set(space.classes)):
        points = [point for point, own in zip(space.points, space.classes, strict=True) if own == number]
        name = html.escape(class_names[number])
        figure.add_scatter(
            name=name, mode="markers", x=[round(x, 3) for x, _ in points], y=[round(y, 3) for _, y in points],
            marker={"color": PALETTE[1 + number % (len(PALETTE) - 1)], "symbol": MARKS[number % len(MARKS)], "size": 7},
            hovertemplate=f"{name}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(height=380, showlegend=True)
    finish(figure)
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, automargin=False)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, automargin=False, scaleanchor="x")
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"y": -0.02, "yanchor": "top", "font": {"size": 11}}
    )
    return figure


def spectrum_figure(spectra: Sequence[Spectrum]) -> go.Figure | None:
    """Eigenvalues as shares of their sum, on a log axis; None where no set of texts varies."""
    figure = go.Figure()
    for number, one in enumerate(spectra):
        total = sum(one.eigenvalues)
        shares = [value / total for value in one.eigenvalues if total > 0 and value > 1e-7 * total]
        if shares:
            figure.add_scatter(
                name=html.escape(one.name), mode="lines", x=list(range(1, len(shares) + 1)), y=shares,
                line={"color": PALETTE[(number + 1) % len(PALETTE)], "width": 2},
            )  # fmt: skip
    if not figure.data:
        return None
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(height=320, xaxis_title="eigenvalue", yaxis_title="share of the sum", showlegend=True)
    return finish(figure)


def mistakes_figure(mistakes: Mistakes) -> go.Figure | None:
    """Rows are true classes, columns what the student says; a cell is a share of its row in percent."""
    rows = [one for one in mistakes.classes if one.total]
    if not rows:
        return None
    said: dict[str, int] = {one.name: one.correct for one in rows}
    for one in rows:
        for name, count in one.taken_for:
            said[name] = said.get(name, 0) + count
    own = [one.name for one in rows]
    others = sorted((name for name in said if name not in own), key=lambda name: -said[name])
    columns = own + others[: max(0, MOST_COLUMNS - len(own))]
    cells = []
    for one in rows:
        taken = {**dict(one.taken_for), one.name: one.correct}
        cells.append([100 * taken.get(name, 0) / one.total for name in columns])
    figure = go.Figure()
    figure.add_heatmap(
        z=cells[::-1], x=[html.escape(name) for name in columns], y=[html.escape(name) for name in own[::-1]],
        colorscale=HEAT, zmin=0, zmax=100, showscale=False, xgap=1, ygap=1,
        hovertemplate="%{y} taken for %{x}: %{z:.0f} %<extra></extra>",
    )  # fmt: skip
    figure.update_layout(height=140 + 26 * len(rows))
    finish(figure)
    figure.update_xaxes(tickangle=-45, showgrid=False, title="what the student says")
    figure.update_yaxes(showgrid=False)
    return figure


def drawn(spaces: Spaces, mistakes: Sequence[Mistakes]) -> dict[str, go.Figure | None]:
    """All of them by the names that the page draws them under."""
    planes = {f"space:{number}": plane_figure(one, spaces.class_names) for number, one in enumerate(spaces.planes)}
    heat = {f"mistakes:{one.arm}": mistakes_figure(one) for one in mistakes}
    return {**planes, "spectra": spectrum_figure(spaces.spectra), **heat}
