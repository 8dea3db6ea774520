"""How a command ends that does not end well: one to three lines, a true exit code, and no traceback unless asked for.

Writes to the terminal, and of an error that we did not foresee the traceback to a file. Knows nothing of commands.
"""

import errno
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

EXIT_WRONG, EXIT_UNFORESEEN, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 1, 130, 143
REMEDIES = {
    errno.ENOSPC: "make room (orchestrator store gc compacts stores), or set storage_root to another disk; "
    "the same command goes on",
    errno.EDQUOT: "make room within the quota, or set storage_root to another disk; the same command goes on",
    errno.EACCES: "give yourself the right to read and write there, or set storage_root to a folder of your own",
    errno.EPERM: "give yourself the right to read and write there, or set storage_root to a folder of your own",
    errno.ENOTDIR: "set storage_root, or the path that the command was given, to a folder",
    errno.EFBIG: "set storage_root to a disk that can hold large files, or raise the limit (ulimit -f)",
    errno.EROFS: "set storage_root to a folder that can be written",
    errno.ENOENT: "correct the path",
    errno.EMFILE: "raise the number of open files (ulimit -n 65536)",
    errno.ENOMEM: "free memory, or use smaller batches and fewer actors",
}


@contextmanager
def told_plainly(debug: bool) -> Iterator[None]:
    """Errors become a few lines and an exit code: 2 what the user can act on, 1 anything else; 130 after Ctrl-C, 143
    after SIGTERM.
    """
    from orchestrator.errors import OrchestratorError, Stopped

    try:
        with _terminable() as came:
            yield
    except OrchestratorError as error:
        if debug:
            raise
        _tell(str(error))
        raise typer.Exit(EXIT_WRONG) from error
    except (KeyboardInterrupt, Stopped) as stopped:
        what, code = ("terminated", EXIT_TERMINATED) if came else ("interrupted", EXIT_INTERRUPTED)
        typer.secho(str(stopped) or f"{what}; the same command continues where this one stopped", err=True)
        raise typer.Exit(int(getattr(stopped, "code", code))) from None
    except OSError as error:
        if debug or error.errno not in REMEDIES:
            raise
        where = f" {error.filename}" if error.filename else ""
        _tell(f"{error.strerror}:{where}\n  remedy:   {REMEDIES[error.errno]}")
        raise typer.Exit(EXIT_WRONG) from error


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """SIGTERM ends the block as Ctrl-C does, so that what was started is ended; yields what will hold it when it came.

    Outside the main thread, where Python handles no signals, it stays as it is.
    """
    came: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first one is being heeded
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def tell_unforeseen(error: Exception) -> None:
    """Tell an error that is our fault or a library's in three lines; the traceback goes to a temporary file.

    Both without what can be recognised as a secret.
    """
    from orchestrator.secrecy import redacted

    with tempfile.NamedTemporaryFile(
        "w", prefix="orchestrator-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(redacted("".join(traceback.format_exception(error))))
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = redacted(str(error)).strip().split("\n", 1)[0][:300]
    _tell(
        f"{type(error).__name__}: {said} ({Path(last.filename).name}:{last.lineno})\n"
        f"  this was not foreseen; the traceback is in {file.name}\n"
        "  remedy:   the same command goes on where this one stopped; --debug shows the traceback here"
    )
    sys.exit(EXIT_UNFORESEEN)


def _tell(text: str) -> None:
    typer.secho(f"error: {text}", err=True, fg=typer.colors.RED)
