"""One self-contained HTML file that opens without a network: what the report, a comparison and a sweep's page share.

Reads templates from the package; writes one file. Everything shown is escaped by the template engine, figures are JSON
drawn by plotly.js, which is inlined once. Knows nothing of what is shown.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from orchestrator.reporting.data import number, signed

MAX_BYTES = 15 * 1024 * 1024


def render_page(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """The page as text.

    Args:
        template: a file of `templates/`.
        figures: plotly figures by the names that the template draws them under; those that are None are left out.
        values: what the templates read: `title`, `words` (sentences) and `warnings` of every page, and the page's own.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("orchestrator.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "signed": signed,
        "cell": cell,
        "breakable": _breakable,
    }
    environment.filters |= filters
    drawn = {name: _Drawn.of(figure) for name, figure in figures.items() if figure is not None}
    plotly_js = get_plotlyjs() if drawn else ""
    return environment.get_template(template).render(figures=drawn, sections=[], plotly_js=plotly_js, **values)


class _Drawn(NamedTuple):
    """A figure for the page: its JSON, and the height that is kept free for it, pixels."""

    json: str
    height: int

    @classmethod
    def of(cls, figure: Any) -> Self:
        """Of a plotly figure."""
        return cls(_script_json(figure.to_plotly_json()), int(figure.layout.height or 300))


def write_page(page: str, path: Path) -> Path:
    """Write it, atomically, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    return temporary.replace(path)


def _script_json(figure: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element: no `<`, and null for what is not a number."""
    from plotly.utils import PlotlyJSONEncoder

    return json.dumps(figure, cls=PlotlyJSONEncoder).replace("<", "\\u003c").replace("&", "\\u0026")


def _breakable(path: str) -> Any:
    """A name, escaped, that may be broken over lines behind its dots, slashes and underscores."""
    from markupsafe import Markup

    parts = re.split(r"([./_])", path)
    return Markup("").join(Markup("%s<wbr>" if part in "./_" else "%s") % part for part in parts if part)


def cell(value: Any) -> str:
    """A swept value or metric in a table: numbers short, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return number(value, 0) if isinstance(value, int) else (f"{value:.4g}" if value == value else "n/a")
