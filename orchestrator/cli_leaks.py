"""The command that looks for leaks between splits: `orchestrator leaks EXPERIMENT`.

Parses arguments and prints. What is heavy is imported only when the command runs.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DebugOption, JsonOption, ToldPlainly


def add_leaks_command(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the command; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def leaks(
        experiment: Annotated[
            str,
            typer.Argument(help="its sheet (YAML), its name below the storage root, or its folder", show_default=False),
        ],
        root: Annotated[Path, typer.Option(help="the storage root")] = Path("runs"),
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Look for copies between splits, label words in captions and perfect scores. Ends with 1 at a leak."""
        with told_plainly(debug):
            from orchestrator.stages.leaks import find

            name = experiment
            if experiment.endswith(".yaml"):
                from orchestrator.config.load import load_experiment

                name = load_experiment(Path(experiment)).name
            folder = root / name if (root / name).is_dir() else Path(name)
            found = find(folder)
        for one in found:
            if as_json:
                typer.echo(json.dumps(asdict(one)))
                continue
            word = typer.style("leak   " if one.is_leak else "look at", fg="red" if one.is_leak else "yellow")
            typer.echo(f"{word} {one.told}")
            for example in one.examples:
                typer.echo(f"        {example}")
        if not found and not as_json:
            typer.echo("nothing found: no copies between splits, no label words, no perfect scores")
        if any(one.is_leak for one in found):
            raise typer.Exit(1)
