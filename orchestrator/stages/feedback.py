"""What the user sees while the line runs: one line per event, a bar for long work.

Writes to the terminal. Knows nothing of stages.
"""

import html
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_PERIOD_S, VERBOSE_PERIOD_S = 15.0, 2.0  # without a terminal, a line at most this often
Advance = Callable[..., None]


class Feedback:
    """Prints events and bars; on something that is not a terminal, bars become occasional lines.

    Args:
        quiet: print nothing but the final results.
        verbose: print details too, the time of day before each line, and progress more often.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.quiet, self.verbose = quiet, verbose

    def event(self, stage: str, text: str) -> None:
        """One line: what happened in a stage."""
        if not self.quiet:
            clock = f"{time.strftime('%H:%M:%S')} " if self.verbose else ""
            self.console.print(f"{clock}[bold]{stage:<9}[/bold] {escape(text)}", markup=True)

    def detail(self, stage: str, text: str) -> None:
        """One line that only --verbose shows: why something happens in a stage."""
        if self.verbose:
            self.event(stage, text)

    @contextmanager
    def bar(self, stage: str, total: int, unit: str) -> Iterator[Advance]:
        """A progress bar; yields `advance(done, note="")`, `done` being the absolute count."""
        if self.quiet:
            yield lambda done, note="": None
        elif self.console.is_terminal:
            columns = (
                TextColumn(f"[bold]{stage:<9}[/bold]"), BarColumn(bar_width=30), MofNCompleteColumn(),
                TextColumn(unit), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
            )  # fmt: skip
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task("", total=total, note="")

                def advance(done: float, note: str = "") -> None:
                    progress.update(task, completed=done, note=note)

                yield advance
        elif self.console.is_jupyter:
            yield _in_place(stage, total, unit)
        else:
            last = started = time.monotonic()
            period_s = VERBOSE_PERIOD_S if self.verbose else QUIET_PERIOD_S

            def line(done: float, note: str = "") -> None:
                nonlocal last
                now = time.monotonic()
                if now - last >= period_s:
                    last = now
                    left = f", about {(now - started) * (total - done) / done:.0f} s left" if done else ""
                    self.event(stage, f"{done:.0f}/{total} {unit}{left} {note}".rstrip())

            yield line


def _in_place(stage: str, total: int, unit: str) -> Advance:
    """A bar below a notebook's cell that is drawn over itself."""
    from IPython.display import HTML, display

    def drawn(done: float, note: str) -> Any:
        return HTML(
            f"<progress value='{done:.0f}' max='{total}'></progress> {html.escape(stage)} {done:.0f}/{total} "
            f"{html.escape(f'{unit} {note}')}"
        )

    handle = display(drawn(0, ""), display_id=True)
    return lambda done, note="": handle.update(drawn(done, note))


def short_metrics(
    metrics: Mapping[str, Any],
    names: tuple[str, ...] = ("train/loss", "select/all", "select/few", "speed/data_wait_fraction", "alarms"),
) -> str:
    """A few metrics for a progress line."""
    return " ".join(f"{name.split('/')[-1]} {metrics[name]:.3g}" for name in names if name in metrics)
