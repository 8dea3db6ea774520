"""The commands about teacher stores: `orchestrator store ls`, `store gc`, `store export`.

Parses arguments and prints. What is heavy is imported only when a command runs.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DebugOption, DryRunOption, JsonOption, ToldPlainly

StoreArgument = Annotated[str, typer.Argument(help="a store, or a folder or URI above stores")]


def add_store_commands(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the group of commands; `told_plainly` turns errors into lines and exit codes."""
    group = typer.Typer(help="Look at teacher stores, clean them, take rows out of them.", no_args_is_help=True)
    app.add_typer(group, name="store")

    @group.command("ls")
    def store_ls(
        folder: StoreArgument = "runs",
        refused: Annotated[
            bool, typer.Option("--refused", help="list the rows that were refused, with reasons")
        ] = False,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Rows, refusals, size and what each store has cost."""
        with told_plainly(debug):
            from orchestrator.stages.store import show_stores

            show_stores(folder, refused=refused, as_json=as_json)

    @group.command("gc")
    def store_gc(
        folder: StoreArgument = "runs",
        refused: Annotated[bool, typer.Option("--refused", help="forget refusals: try these rows again")] = False,
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Compact stores wholly and clear what killed processes left; rows with a result are never removed."""
        with told_plainly(debug):
            from orchestrator.stages.store import clean
            from orchestrator.stages.verify import some_stores

            for found in some_stores(folder):
                told = clean(found, forget_refused=refused, dry_run=dry_run)
                if as_json:
                    typer.echo(json.dumps({"store": str(found.folder), "dry_run": dry_run, **told}))
                    continue
                shown = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in told.items())
                typer.echo(f"{found.folder}: {'would be: ' if dry_run else ''}{shown}")

    @group.command("export")
    def store_export(
        folder: Annotated[str, typer.Argument(help="one store (folder or URI)", show_default=False)],
        target: Annotated[Path, typer.Argument(help="FILE.parquet, FILE.csv or FILE.jsonl", show_default=False)],
        columns: Annotated[str, typer.Option(help="comma-separated columns (default: all)")] = "",
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Write a store's rows to a file, in the order of their keys."""
        with told_plainly(debug):
            from orchestrator.stages.store import export
            from orchestrator.stages.verify import one_store

            names = [name.strip() for name in columns.split(",") if name.strip()]
            rows = export(one_store(folder), target, names, dry_run=dry_run)
            would = "would go " if dry_run else ""
            typer.echo(
                json.dumps({"rows": rows, "file": str(target), "dry_run": dry_run})
                if as_json
                else f"{rows:,} rows {would}to {target}"
            )
