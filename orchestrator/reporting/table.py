"""The result in the terminal: baseline against distilled, with differences.

Reads and writes nothing. Knows nothing of HTML.
"""

import math

from rich.table import Table
from rich.text import Text

from orchestrator.reporting.data import ReportData, comparison, number, signed


def results_table(data: ReportData) -> Table:
    """A rich table: one row per arm (values in percent), and under every arm but the baseline its differences."""
    headings, rows = comparison(data)
    table = Table(title="Accuracy on the report split, %")
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(Text(row.name), *(number(value) for value in row.values))
        if row.differences is not None:
            cells = [Text(signed(value), style=_style(value)) for value in row.differences]
            table.add_row(Text(f"  minus {rows[0].name}", style="dim"), *cells, end_section=True)
    return table


def _style(difference: float) -> str:
    if not math.isfinite(difference) or signed(difference).strip("+-0.") == "":
        return "dim"
    return "green" if difference > 0 else "red"
