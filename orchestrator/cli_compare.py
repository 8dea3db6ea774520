"""The command that sets finished things beside each other: `orchestrator compare A B [...]`.

Parses arguments and prints. What is heavy is imported only when the command runs.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DebugOption, JsonOption, ToldPlainly


def add_compare_command(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the command; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def compare(
        names: Annotated[
            list[str],
            typer.Argument(
                help="EXPERIMENT/ARM, EXPERIMENT/ARM/seed-K, EXPERIMENT/SWEEP, or one EXPERIMENT for all of its arms; "
                "the others are compared with the first",
                show_default=False,
            ),
        ],
        root: Annotated[Path, typer.Option(help="the storage root that names are looked for in")] = Path("runs"),
        output: Annotated[
            Path | None, typer.Option(help="where the page goes (default: ROOT/comparisons/NAMES.html)")
        ] = None,
        confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="of the intervals")] = 0.95,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Compare students or sweeps: differing settings, intervals over images, winners by class, learning curves."""
        with told_plainly(debug):
            from rich.console import Console

            from orchestrator.stages.compare_command import run_compare

            shown = run_compare(names, root, output, confidence)
            if as_json:
                typer.echo(json.dumps(shown.json))
                return
            console = Console()
            for table in shown.tables:
                console.print(table)
            for line in shown.lines:
                console.print(line, markup=False)
            for warning in shown.warnings:
                console.print(f"warning: {warning}", style="yellow", markup=False)
            console.print(f"page: {shown.page}", markup=False)
