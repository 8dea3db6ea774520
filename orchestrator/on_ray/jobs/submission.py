"""What a job is: its command line, an id that makes a repeat harmless, and what must not stand in it.

Reads the sheets that the arguments name. Knows nothing of clusters.
"""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.secrecy import secret_in

SUFFIXES_OF_SHEETS = (".yaml", ".yml")


@dataclass(frozen=True)
class Submission:
    """A job of `jobs/` with its arguments, as it is to run on a cluster.

    Attributes:
        job: name of a module in jobs/.
        arguments: as on a command line.
        base_id: the same for the same job, arguments and sheets.
        python: the interpreter on the cluster.
    """

    job: str
    arguments: tuple[str, ...]
    base_id: str
    python: str = "python"

    @property
    def entrypoint(self) -> str:
        """The shell command on the head node."""
        return shlex.join([self.python, "-m", f"jobs.{self.job}", *self.arguments])

    def attempt_id(self, attempt: int) -> str:
        """Submission id of the attempt, 1-based."""
        return self.base_id if attempt == 1 else f"{self.base_id}-{attempt}"

    def attempt_of(self, submission_id: str) -> int | None:
        """Which attempt of this job an id is, or None where it is none."""
        if submission_id == self.base_id:
            return 1
        found = re.fullmatch(re.escape(self.base_id) + r"-(\d+)", submission_id)
        return int(found[1]) if found else None


def make_submission(
    job: str, arguments: Sequence[str], working_dir: Path, *, python: str = "python", name: str | None = None
) -> Submission:
    """Check a job and its arguments, and give it its id.

    The id is made of the job, its arguments and the content of the sheets that they name, so that the same command
    finds the job that is running already, and a changed sheet is another job.

    Raises:
        ConfigError: no such job; a sheet that the job would not find; a secret among the arguments.
    """
    problems = [*_job_problems(job, working_dir)]
    content = hashlib.blake2b(digest_size=4)
    content.update("\0".join([job, *arguments]).encode())
    sheet_name = None
    for argument in arguments:
        if problem := _secret_in(argument):
            problems.append(problem)
        elif argument.endswith(SUFFIXES_OF_SHEETS) and "=" not in argument:
            found = _sheet(argument, working_dir)
            if isinstance(found, str):
                problems.append(found)
            else:
                content.update(found.read_bytes())
                sheet_name = sheet_name or found.stem
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", name):
        problems.append(f"--id {name!r}: letters, digits, '_', '.' and '-' only")
    if problems:
        raise ConfigError("; ".join(problems), remedy="nothing was sent")
    base = name or "-".join(filter(None, [job, sheet_name, content.hexdigest()]))
    return Submission(job, tuple(arguments), base, python)


def check_variables(variables: dict[str, str]) -> None:
    """Refuse secrets among what would stand readable in the job's description.

    Raises:
        ConfigError: a name or a value that is a secret.
    """
    problems = [problem for name, value in variables.items() if (problem := _secret_in(f"{name}={value}"))]
    if problems:
        raise ConfigError(
            "; ".join(problems),
            expected="variables that everybody with access to the dashboard may read",
            remedy="set the secret on the cluster's nodes (cluster.yaml, a Kubernetes secret, a file)",
        )


def _job_problems(job: str, working_dir: Path) -> list[str]:
    known = sorted(path.stem for path in (working_dir / "jobs").glob("*.py") if path.stem != "__init__")
    return [] if job in known or not known else [f"there is no job {job} (jobs: {', '.join(known)})"]


def _sheet(argument: str, working_dir: Path) -> Path | str:
    """The sheet that an argument names, or why the job would not find it."""
    path = Path(argument)
    if path.is_absolute():
        return (
            f"{argument} is an absolute path, which the cluster's nodes do not have; name it relative to {working_dir}"
        )
    found = (working_dir / path).resolve()
    if not found.is_relative_to(working_dir.resolve()):
        return f"{argument} lies outside the working directory {working_dir}, which is all that is sent"
    return found if found.is_file() else f"there is no file {argument} in {working_dir}"


def _secret_in(argument: str) -> str | None:
    """What is wrong with an argument that holds a secret; the secret itself is not told."""
    key, sign, value = argument.partition("=")
    what = secret_in(key, value) if sign else secret_in("", argument)
    name = f"{key}=..." if sign else "an argument"
    return None if what is None else f"{name} {what}, and a job's description can be read by all who reach the cluster"
