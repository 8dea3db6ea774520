"""One self-contained HTML file that opens without a network: what the report, a comparison and a sweep's page share.

Reads templates from the package; writes one file. Everything shown is escaped by the template engine, figures are JSON
drawn by plotly.js, which is inlined once. Knows nothing of what is shown.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.reporting.data import number, signed

MAX_BYTES = 15 * 1024 * 1024


def render_page(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """The page as text.

    Args:
        template: a file of `templates/`.
        figures: plotly figures by the names that the template draws them under; those that are None are left out.
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
    drawn = {name: _script_json(figure.to_plotly_json()) for name, figure in figures.items() if figure is not None}
    return environment.get_template(template).render(figures=drawn, plotly_js=get_plotlyjs(), **values)


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
    """A dotted name, escaped, that may be broken over lines behind its dots."""
    from markupsafe import Markup, escape

    return Markup(".<wbr>").join(escape(part) for part in path.split("."))


def cell(value: Any) -> str:
    """A swept value or metric in a table: numbers short, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return number(value, 0) if isinstance(value, int) else (f"{value:.4g}" if value == value else "n/a")
