"""Arguments and options that several commands have: each written once, so that a word means the same everywhere.

Holds annotations, and what ends a command that was asked for JSON. Knows nothing of commands.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

LAPTOP = Path("jobs/executions/laptop.yaml")
ToldPlainly = Callable[[bool], AbstractContextManager[None]]
STOPPED_CODES = (75, 80, 130)  # told to stop, stopped as a job, interrupted here

ExperimentArgument = Annotated[Path, typer.Argument(help="the experiment sheet (YAML)", show_default=False)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="a.b=value settings that replace those of the sheet", show_default=False)
]
ExecutionOption = Annotated[Path, typer.Option("--execution", "-x", help="the execution sheet: where and how")]
OverrideExecutionOption = Annotated[
    list[str] | None, typer.Option("--set", help="a.b=value settings that replace those of the execution sheet")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]
RebuildOption = Annotated[list[str] | None, typer.Option("--rebuild", help="make this stage anew; may be repeated")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="print only the result")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="also why each thing is made or reused, of what, and when")
]
LastLineOption = Annotated[
    bool, typer.Option("--json", help="end with a line of JSON: status, exit code, what was made, or the error")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, or one for each finding")]
DebugOption = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


@contextmanager
def last_line(command: str, as_json: bool) -> Iterator[dict[str, Any]]:
    """Yields what the command fills in; however it ends, the last line on stdout is that, its status and exit code.

    The words of `status` are those of `orchestrator submit`. Stands around `told_plainly`, whose exit codes it tells.

    Args:
        as_json: False: print nothing.
    """
    told: dict[str, Any] = {}
    if not as_json:
        yield told
        return
    began, code, error = time.monotonic(), 1, {}
    try:
        yield told
        code = 0
    except typer.Exit as ended:
        code = ended.exit_code
        error = _in_parts(ended.__cause__)
        raise
    except Exception as problem:
        error = _in_parts(problem)
        raise
    finally:
        status = "SUCCEEDED" if code == 0 else "STOPPED" if code in STOPPED_CODES else "FAILED"
        end = {"command": command, "status": status, "exit_code": code, "seconds": round(time.monotonic() - began, 1)}
        typer.echo(json.dumps({**end, **error, **told}))


def _in_parts(problem: BaseException | None) -> dict[str, str]:
    """The error and, where it knows one, what to do about it."""
    if problem is None:
        return {}
    known = {"error": getattr(problem, "wrong", ""), "remedy": getattr(problem, "remedy", "")}
    return {name: text for name, text in known.items() if text} or {"error": f"{type(problem).__name__}: {problem}"}
