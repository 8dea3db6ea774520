"""The commands that only look: `orchestrator list`, `explain`, `show` and `schemas`.

Parses arguments and prints. What there is to tell is in guide/, which is imported only when a command runs.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli_options import DebugOption, DryRunOption, JsonOption, ToldPlainly

if TYPE_CHECKING:
    from orchestrator.guide.artifact import Shown
    from orchestrator.guide.explain import Explained

SORTS = (
    "losses", "students", "teachers", "captioners", "datasets", "texts", "prompts", "recipes", "executions", "spaces",
)  # fmt: skip


def _sorts(begun: str) -> list[str]:
    return [sort for sort in SORTS if sort.startswith(begun)]


def _paths(begun: str) -> list[str]:
    from orchestrator.guide.settings import every_path

    return [path for path in every_path() if path.startswith(begun) and path.count(".") <= begun.count(".")]


def add_look_commands(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the commands; `told_plainly` turns errors into lines and exit codes."""

    @app.command("list")
    def list_(
        what: Annotated[str, typer.Argument(help=" | ".join(SORTS), autocompletion=_sorts, show_default=False)],
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """List what there is to choose from: losses, students, teachers, prompts, recipes, ..."""
        with told_plainly(debug):
            from orchestrator.guide.kinds import listed

            rows = listed(what)
        if as_json:
            typer.echo(json.dumps(dict(rows), ensure_ascii=False))
        else:
            _print_rows(rows)

    @app.command()
    def explain(
        path: Annotated[
            str,
            typer.Argument(
                help="as in a sheet: losses.text.weight, student.timm", autocompletion=_paths, show_default=False
            ),
        ],
        sheet: Annotated[Path | None, typer.Option("--in", help="a sheet: explain the kinds that it has")] = None,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Explain a setting: meaning, type and range, default, and the paper it comes from."""
        with told_plainly(debug):
            from orchestrator.config.load import read_yaml
            from orchestrator.guide.explain import explain as explained

            found = explained(path, read_yaml(sheet) if sheet is not None else None)
        if as_json:
            typer.echo(json.dumps([one.model_dump() for one in found], ensure_ascii=False))
            return
        for number, one in enumerate(found):
            if number:
                typer.echo()
            _print_explained(one)

    @app.command()
    def show(
        folder: Annotated[Path, typer.Argument(help="of an artifact, as runs/demo/index", show_default=False)],
        rows: Annotated[int, typer.Option(min=0, help="of each table")] = 3,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Show an artifact: how it was made, what it holds, columns and sample rows."""
        with told_plainly(debug):
            from orchestrator.guide.artifact import show as shown

            found = shown(folder, rows)
        if as_json:
            typer.echo(found.model_dump_json())
        else:
            _print_artifact(found)

    @app.command()
    def schemas(
        folder: Annotated[Path, typer.Argument(help="where the JSON files go")] = Path("schemas"),
        dry_run: DryRunOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Write the JSON schemas of experiments, executions and search spaces, which editors check sheets with."""
        with told_plainly(debug):
            from orchestrator.guide.schemas import schema_files, write_schemas

            for path in schema_files(folder) if dry_run else write_schemas(folder):
                typer.echo(f"{'would write ' if dry_run else ''}{path}")


def _print_rows(rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, told in rows:
        table.add_row(_plain(name), _plain(told))
    Console(highlight=False).print(table)


def _print_explained(one: "Explained") -> None:
    typer.secho(f"{one.path}  (of the {one.sheet})", bold=True)
    typer.echo(one.meaning or one.title)
    facts = {"type": one.type, "default": one.default or ("" if one.settings else "none, it must be given")}
    if one.meaning and not one.settings:
        facts["of"] = one.title
    _print_rows([(f"  {name}", told) for name, told in facts.items() if told and not (name == "default" and one.kinds)])
    for sentence in one.paper:
        if sentence not in one.meaning.replace("\n", " ") and sentence != one.title:
            typer.echo(f"  source   {sentence}")
    if one.kinds:
        typer.echo("kinds, each explained by its own name:")
        _print_rows([(f"  {name}", told) for name, told in one.kinds])
    if one.settings:
        typer.echo("settings:")
        _print_rows(
            [(f"  {name}", f"{kind}, {_given(default)}. {told}".rstrip()) for name, kind, default, told in one.settings]
        )


def _print_artifact(found: "Shown") -> None:
    manifest = found.manifest
    if manifest is None:
        typer.secho(f"{found.folder}: begun and not finished; the same command goes on", bold=True)
        return
    typer.secho(f"{found.folder}: {manifest.stage}, made {manifest.created_utc} in {manifest.seconds:.1f} s", bold=True)
    told = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in manifest.counts.items())
    rows = [("holds", told), ("made of", ", ".join(manifest.parents) or "the data set's files")]
    rows += [("measured", ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items()))]
    rows += [("fingerprint", manifest.fingerprint), ("version", manifest.version)]
    rows += [("whole", "; ".join(found.problems) or "every checksum is right")]
    rows += [("other files", ", ".join(f"{name} ({size:,} bytes)" for name, size in found.other_files.items()))]
    _print_rows([(f"  {name}", value) for name, value in rows if value])
    for table in found.tables:
        typer.secho(f"  {table.name}: {table.num_rows:,} rows", bold=True)
        _print_rows([(f"    {name} ({kind})", " | ".join(row[name] for row in table.rows))
                     for name, kind in table.columns.items()])  # fmt: skip


def _given(default: str) -> str:
    return default if default == "must be given" else f"default {default}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
