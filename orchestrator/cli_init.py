"""The command to begin with: `orchestrator init FOLDER`.

Parses arguments and prints. What looks and writes is in guide/, which is imported only when the command runs.
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli_options import DebugOption, JsonOption, ToldPlainly

if TYPE_CHECKING:
    from orchestrator.guide.first_look import FirstLook


def add_init_command(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the command; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def init(
        folder: Annotated[Path, typer.Argument(help="of your images: CLASS/*.jpg or train/CLASS/*.jpg",
                                               show_default=False)],
        name: Annotated[str | None, typer.Option(help="of the experiment (default: of the folder)")] = None,
        output: Annotated[Path | None, typer.Option(help="the sheet (default: jobs/experiments/NAME.yaml)")] = None,
        force: Annotated[bool, typer.Option("--force", help="write over a sheet that is there")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="look, and write nothing")] = False,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:  # fmt: skip
        """Look at your images, and write a commented experiment for them."""
        with told_plainly(debug):
            from orchestrator.guide.draft import draft
            from orchestrator.guide.first_look import look

            found = look(folder)
            path = None if dry_run else draft(found, name, output, force=force)
        if as_json:
            told = {"sheet": str(path) if path else None, "folders": found.folders, "counts": found.counts,
                    "median_side": found.median_side, "told": found.told}  # fmt: skip
            typer.echo(json.dumps(told, ensure_ascii=False))
            return
        _print_look(found)
        if path is not None:
            _print_next(path)


def _print_look(found: "FirstLook") -> None:
    counts = sorted(found.classes.values())
    layout = "a folder for each split" if found.folders else "a folder for each class"
    typer.echo(f"{found.root}: {layout}; {len(counts)} classes, {found.num_images:,} images")
    for split, classes in found.counts.items():
        where = f"{found.folders[split]} -> {split}" if split else "to be split by class"
        full = [number for number in classes.values() if number]
        typer.echo(f"  {where}: {sum(full):,} images, {min(full, default=0)} to {max(full, default=0):,} in a class")
    if found.sides:
        typer.echo(f"  shorter sides: {min(map(min, found.sides))} to {max(map(min, found.sides))} pixels, "
                   f"median {found.median_side}")  # fmt: skip
    for line in found.told:
        typer.echo(f"  note: {line}")


def _print_next(path: Path) -> None:
    sheet = shlex.quote(str(path))
    typer.secho(f"wrote {path}; read it, and then:", bold=True)
    steps = (
        (f"orchestrator index {sheet}", "reads every image; tells which are bad"),
        (f"orchestrator plan {sheet}", "says what captions will cost"),
        (f"orchestrator run {sheet}", "captions, trains, evaluates, writes the report"),
        (f"orchestrator export {sheet}", "makes files of the best student that others can use"),
    )
    width = max(len(command) for command, _ in steps)
    for command, why in steps:
        typer.echo(f"  {command:<{width}}  # {why}")
