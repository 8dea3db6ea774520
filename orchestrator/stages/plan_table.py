"""The table that `orchestrator plan` prints.

Knows nothing of how estimates are made.
"""

from collections.abc import Sequence

from rich.table import Table

from orchestrator.stages.planner import Estimate

HEADINGS = ("wanted", "missing", "probed", "rest", "GPU h", "CPU h", "storage", "USD")


def plan_table(found: Sequence[Estimate]) -> Table:
    """One row for each kind of teacher output, and the sum; estimated numbers of rows are marked with ~."""
    table = Table(title="What is missing, and what it will cost", box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        about = "" if each.is_exact else "~"
        table.add_row(
            each.unit, f"{about}{each.asked:,}", f"{about}{each.missing:,}", f"{each.probed:,}",
            _duration(each.seconds), f"{each.gpu_hours:.2f}", f"{each.cpu_hours:.2f}",
            _size(each.stored_bytes), _money(each.usd),
        )  # fmt: skip
    table.add_section()
    known = [each.usd for each in found if each.usd is not None]
    table.add_row(
        "all", "", "", "", _duration(sum(each.seconds for each in found)),
        f"{sum(each.gpu_hours for each in found):.2f}", f"{sum(each.cpu_hours for each in found):.2f}",
        _size(sum(each.stored_bytes for each in found)), _money(sum(known) if known else None),
    )  # fmt: skip
    return table


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def _money(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:,.2f}"
