"""What `orchestrator submit`, `jobs`, `logs` and `stop` do, from their arguments to their exit codes.

Prints; asks the person at the keyboard what Ctrl-C is to mean. Knows nothing of what jobs do.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich
import typer
from ray.job_submission import JobDetails
from rich.table import Table

from orchestrator.errors import ConfigError
from orchestrator.on_ray.jobs.client import DEFAULT_ADDRESS, EXIT_LOST, Ended, JobLostError, Jobs
from orchestrator.on_ray.jobs.package import MIB, copy_package, files_to_send
from orchestrator.on_ray.jobs.submission import Submission, check_variables, make_submission

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class SubmitRequest:
    """The arguments of `orchestrator submit`.

    Attributes:
        address: None: RAY_API_SERVER_ADDRESS, else the dashboard's usual address on this machine.
        variables: names of environment variables of this shell that the job is to have.
        install: install the pinned packages of constraints.txt for the job.
        wait: follow the job to its end.
    """

    job: str
    arguments: tuple[str, ...]
    address: str | None = None
    name: str | None = None
    working_dir: Path = Path()
    python: str = "python"
    num_cpus: float = 0
    variables: tuple[str, ...] = ()
    install: bool = False
    wait: bool = True
    again: bool = False
    dry_run: bool = False
    wait_s: float = 90


def submit(request: SubmitRequest) -> int:
    """Send a job, follow it to its end, and return the exit code; the last line on stdout is JSON."""
    submission = make_submission(
        request.job, request.arguments, request.working_dir, python=request.python, name=request.name
    )
    variables = _variables(request.variables)
    if request.dry_run:
        files = list(files_to_send(request.working_dir))
        typer.echo(f"job         {submission.base_id}")
        typer.echo(f"command     {submission.entrypoint}")
        typer.echo(f"variables   {', '.join(variables) or 'none'}")
        typer.echo(f"sent        {len(files)} files, {sum(path.stat().st_size for path in files) / MIB:.1f} MiB")
        return 0
    started, address = time.monotonic(), _address(request.address)
    jobs = Jobs(address, wait_s=request.wait_s, told=_note)
    with tempfile.TemporaryDirectory(prefix="orc-job-") as folder:
        package = copy_package(request.working_dir, Path(folder))
        for name in package.left_out:
            _note(f"not sent, too large: {name}")
        environment: dict[str, Any] = {"working_dir": folder, **({"env_vars": variables} if variables else {})}
        if request.install:
            environment["pip"] = _pins(request.working_dir)
        sent = jobs.send(submission, environment, again=request.again, num_cpus=request.num_cpus)
    if sent.is_new:
        _note(f"{sent.submission_id}: sent ({package.num_files} files, {package.num_bytes / MIB:.1f} MiB)")
    else:
        _note(f"{sent.submission_id}: found on the cluster, {sent.status}; nothing was sent")
    if not request.wait:
        return _close(Ended(sent.submission_id, sent.status, 0), address, started)
    return _close(_follow(jobs, sent.submission_id, submission), address, started)


def _follow(jobs: Jobs, submission_id: str, submission: Submission | None) -> Ended:
    """Follow to the end; Ctrl-C asks whether to stop the job or to leave it."""
    try:
        return jobs.follow(submission_id, _write)
    except JobLostError as error:
        _note(str(error))
        return Ended(submission_id, "LOST", EXIT_LOST, error.wrong)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and typer.confirm(f"\nstop {submission_id}? (no: it goes on without you)", default=False):
            return jobs.stop(submission_id)
        same = " or the same submit command follow it" if submission else " follows it"
        _note(f"{submission_id} goes on; orchestrator logs {submission_id}{same}")
        return Ended(submission_id, "RUNNING", EXIT_INTERRUPTED, "left running")


def show_jobs(address: str | None, *, as_json: bool, wait_s: float) -> int:
    """List the jobs of the cluster."""
    found = Jobs(_address(address), wait_s=wait_s, told=_note).all()
    if as_json:
        for details in found:
            typer.echo(json.dumps(_row(details)))
        return 0
    columns = ("submission_id", "status", "started", "seconds", "exit_code", "command")
    table = Table("job", "status", "started (UTC)", "s", "exit", "command", box=None)
    for details in found:
        row = _row(details)
        table.add_row(*("" if row[key] is None else str(row[key]) for key in columns))
    rich.print(table if found else "no jobs")
    return 0


def show_logs(address: str | None, submission_id: str, *, follow: bool, wait_s: float) -> int:
    """Print what a job has printed; with `follow` to its end, whose exit code is returned."""
    started, told = time.monotonic(), _address(address)
    jobs = Jobs(told, wait_s=wait_s, told=_note)
    if follow:
        return _close(_follow(jobs, submission_id, None), told, started)
    jobs.status(submission_id)
    _write(jobs.logs(submission_id))
    return 0


def stop_job(address: str | None, submission_id: str, *, dry_run: bool, wait_s: float) -> int:
    """Stop a job and wait for its end, or tell what it is that would be stopped; 0 when it has ended, however."""
    started, told = time.monotonic(), _address(address)
    jobs = Jobs(told, wait_s=wait_s, told=_note)
    if dry_run:
        details = jobs.status(submission_id)
        _note("it has ended" if details.status.is_terminal() else "it would be stopped")
        typer.echo(json.dumps({**_row(details), "address": told}))
        return 0
    ended = jobs.stop(submission_id)
    _close(ended, told, started)
    return 0


def _row(details: JobDetails) -> dict[str, Any]:
    start, end = details.start_time, details.end_time
    seconds = None if not start else round(((end or time.time() * 1000) - start) / 1000)
    return {
        "submission_id": details.submission_id,
        "status": details.status.value,
        "started": None if not start else f"{datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d %H:%M:%S}",
        "seconds": seconds,
        "exit_code": details.driver_exit_code,
        "command": details.entrypoint,
    }


def _close(ended: Ended, address: str, started: float) -> int:
    """Tell the end: a sentence for people on stderr, JSON for scripts as the last line of stdout."""
    if ended.message and ended.status not in ("SUCCEEDED", "LOST"):
        _note(ended.message)
    told = {
        "submission_id": ended.submission_id,
        "status": ended.status,
        "exit_code": ended.exit_code,
        "seconds": round(time.monotonic() - started, 1),
        "address": address,
    }
    typer.echo(json.dumps(told))
    return ended.exit_code


def _address(given: str | None) -> str:
    return (given or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS).rstrip("/")


def _variables(names: Sequence[str]) -> dict[str, str]:
    """The values of these variables of this shell.

    Raises:
        ConfigError: one that is not set, or that is a secret.
    """
    if missing := [name for name in names if name not in os.environ]:
        raise ConfigError(f"--env {', '.join(missing)}: not set in this shell", remedy="export it, or leave it out")
    variables = {name: os.environ[name] for name in names}
    check_variables(variables)
    return variables


def _pins(working_dir: Path) -> list[str]:
    """The pinned packages; Ray itself is the cluster's."""
    path = working_dir / "constraints.txt"
    if not path.is_file():
        raise ConfigError(f"--install: there is no {path}", expected="the project's pinned packages")
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.lower().startswith(("ray=", "ray["))]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(text: str) -> None:
    typer.echo(text, err=True)
