"""The first page of help: the commands in the order in which a person meets them, grouped.

Draws plain text from names and first sentences. Neither rich nor the parsers of thirty commands are needed for that,
and this page is read most often. Knows nothing of what commands do.
"""

import shutil
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

GROUPS: dict[str, tuple[str, ...]] = {
    "Begin": ("init", "list", "explain", "doctor"),
    "The line": (
        "run", "plan", "index", "describe", "caption", "tune", "embed", "quality", "sweep", "train", "evaluate",
        "report",
    ),
    "Compare": ("evidence", "compare", "leaks", "reproduce", "ui"),
    "Use the student": ("export", "predict"),
    "Look and clean up": ("show", "verify", "store"),
    "Jobs on a cluster": ("submit", "jobs", "logs", "stop"),
    "Special": ("write-jobs", "mlflow-server", "convert-mae", "schemas"),
}  # fmt: skip
OTHER = "More"
OPTIONS = {
    "--install-completion": "Teach the shell to complete commands, settings and sheets",
    "--show-completion": "Print what that would install",
    "--version": "Print the version",
    "--help": "Show this page",
}
MAX_WIDTH = 110


class GroupedCommands(TyperGroup):
    """The command group whose help is `page`."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Usage, the grouped commands, the options."""
        told = {name: command.help or "" for name, command in self.commands.items() if not command.hidden}
        formatter.write(page(self.help or "", told))


def help_of(app: typer.Typer) -> str:
    """The page, without building a command."""
    told = {(one.name or _name(one.callback)): one.help or (one.callback.__doc__ if one.callback else "") or ""
            for one in app.registered_commands}  # fmt: skip
    told |= {str(group.name): str(group.typer_instance.info.help) for group in app.registered_groups
             if group.typer_instance}  # fmt: skip
    return page(str(app.info.help), told)


def page(about: str, commands: Mapping[str, str]) -> str:
    """The page of commands with what each does; those that stand in no group come last."""
    grouped = {name for names in GROUPS.values() for name in names}
    sections = {**GROUPS, OTHER: tuple(name for name in commands if name not in grouped)}
    lines = ["Usage: orchestrator COMMAND ...", "", *_wrapped(about, ""), ""]
    for heading, names in sections.items():
        rows = {name: _sentence(commands[name]) for name in names if name in commands}
        lines += _section(heading, rows) if rows else []
    lines += _section("Options", OPTIONS)
    lines += _wrapped("orchestrator COMMAND --help tells more; orchestrator init FOLDER begins with your images.", "")
    return "\n".join(lines) + "\n"


def _section(heading: str, rows: Mapping[str, str]) -> list[str]:
    lines = [typer.style(heading, bold=True)]
    width = 14 if max(map(len, rows)) < 13 else 24
    for name, told in rows.items():
        first, *more = _wrapped(told, " " * (width + 2)) or [""]
        lines += [f"  {name:<{width}}{first.strip()}", *more]
    return [*lines, ""]


def _wrapped(text: str, indent: str) -> list[str]:
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)


def _sentence(text: str) -> str:
    """The first sentence of a command's help, without its full stop."""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def _name(callback: object) -> str:
    return str(getattr(callback, "__name__", "")).replace("_", "-")
