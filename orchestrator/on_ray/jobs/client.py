"""Ray's job API with patience: waits until the cluster takes jobs, follows logs over broken streams, tells true ends.

What Ray's own command leaves to chance (2.60): it ends with 0 when a log stream closes while the job runs and when a
job was stopped, and with 1 whatever a failed driver returned. Knows nothing of what the jobs do.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.on_ray.jobs.submission import Submission

EXIT_STOPPED, EXIT_LOST = 80, 81
POLL_S, TAIL_S = 1.0, 60.0
DEFAULT_ADDRESS = "http://127.0.0.1:8265"


class JobLostError(OrchestratorError):
    """The cluster, or its memory of the job, is gone."""


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        status: SUCCEEDED, FAILED, STOPPED or LOST.
        exit_code: 0; the driver's own where it failed (1 where it has none); EXIT_STOPPED; EXIT_LOST.
        message: what Ray says of it.
    """

    submission_id: str
    status: str
    exit_code: int
    message: str = ""


@dataclass(frozen=True)
class Sent:
    """A job that is on the cluster. `is_new`: it was sent now, and not found there."""

    submission_id: str
    status: str
    is_new: bool


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of the dashboard, http://HOST:PORT.
        wait_s: how long a cluster that does not answer, or takes no jobs yet, is waited for.
        told: called with a line when there is something to wait for.
    """

    def __init__(self, address: str, *, wait_s: float, told: Callable[[str], None]) -> None:
        self.address, self.wait_s, self._told = address, wait_s, told
        logging.getLogger("ray").setLevel(logging.ERROR)  # uploads and closed streams, a line each
        self._client: JobSubmissionClient = self._connect()

    def _connect(self) -> JobSubmissionClient:
        """Raises ConfigError: nobody answers in time, or the token is refused."""
        for last in _tries(self.wait_s, lambda: self._told(f"waiting for {self.address}")):
            try:
                return JobSubmissionClient(self.address)
            except (ConnectionError, requests.exceptions.RequestException, RuntimeError, AuthenticationError) as error:
                if _is_refusal(error) or last:
                    raise self._unreachable(error) from error
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: Exception) -> ConfigError:
        if _is_refusal(error):
            return ConfigError(
                f"{self.address} refused the token",
                expected="its token in RAY_AUTH_TOKEN, in the file of RAY_AUTH_TOKEN_PATH, or in ~/.ray/auth_token",
                remedy="export RAY_AUTH_MODE=token, and copy the token from the head node (ray get-auth-token)",
            )
        return ConfigError(
            f"no Ray cluster answers at {self.address} ({_first_line(error)})",
            expected="the dashboard's address",
            remedy="start the cluster, open the tunnel (ray dashboard cluster.yaml), or name another with --address",
        )

    def send(self, submission: Submission, runtime_env: dict[str, Any], *, again: bool, num_cpus: float) -> Sent:
        """Send a job, unless it is there: one that runs or has succeeded is found again, one that failed is repeated.

        Args:
            again: repeat also one that has succeeded.

        Raises:
            ConfigError: the cluster takes no job in time.
        """
        attempts = {
            number: details
            for details in self.all()
            if (number := submission.attempt_of(str(details.submission_id))) is not None
        }
        newest = max(attempts, default=0)
        if newest:
            details = attempts[newest]
            done = details.status == JobStatus.SUCCEEDED
            if not details.status.is_terminal() or (done and not again):
                return Sent(submission.attempt_id(newest), details.status.value, is_new=False)
        wanted = submission.attempt_id(newest + 1)
        for last in _tries(self.wait_s, lambda: self._told("the cluster takes no jobs yet")):
            try:
                self._client.submit_job(
                    entrypoint=submission.entrypoint, submission_id=wanted, runtime_env=runtime_env,
                    metadata={"job": submission.job}, entrypoint_num_cpus=num_cpus or None,
                )  # fmt: skip
                return Sent(wanted, JobStatus.PENDING.value, is_new=True)
            except (RuntimeError, requests.exceptions.ConnectionError) as error:
                if "already exists" in str(error):  # sent by another, or by a try whose answer was lost
                    return Sent(wanted, JobStatus.PENDING.value, is_new=False)
                if last or not _takes_no_jobs_yet(error):
                    raise ConfigError(
                        f"the cluster did not take the job: {_first_line(error)}",
                        remedy="look at the dashboard; the same command tries again. If it goes on, another Ray on the "
                        "head's machine may hold the agent's port: ray start --dashboard-agent-listen-port=0",
                    ) from error
        raise AssertionError("the last try returns or raises")

    def all(self) -> list[JobDetails]:
        """Every job that the cluster knows and that was submitted, oldest first."""
        found = [details for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda details: details.start_time or 0)

    def status(self, submission_id: str) -> JobDetails:
        """One job.

        Raises:
            JobLostError: the cluster does not answer within the waiting time, or does not know the job.
        """
        for last in _tries(self.wait_s, lambda: self._told(f"{self.address} does not answer; waiting")):
            try:
                return self._client.get_job_info(submission_id)
            except RuntimeError as error:
                if "404" in str(error) or "does not exist" in str(error):
                    raise JobLostError(
                        f"{self.address} does not know the job {submission_id}",
                        expected="a job of this cluster; a cluster that was started anew has forgotten its jobs",
                        remedy="orchestrator jobs lists them; the same submit command runs it again",
                    ) from error
                if last:
                    raise self._lost(submission_id, error) from error
            except (ConnectionError, requests.exceptions.RequestException) as error:
                if last:
                    raise self._lost(submission_id, error) from error
        raise AssertionError("the last try returns or raises")

    def _lost(self, submission_id: str, error: Exception) -> JobLostError:
        return JobLostError(
            f"the cluster at {self.address} is gone while {submission_id} ran ({_first_line(error)})",
            remedy="when it is back, the same command finds the job or runs it again; finished work is kept",
        )

    def logs(self, submission_id: str) -> str:
        """What the job has printed so far."""
        return str(self._client.get_job_logs(submission_id))

    def follow(self, submission_id: str, write: Callable[[str], None]) -> Ended:
        """Pass on what a job prints, from its beginning, until it has ended.

        Raises:
            JobLostError: see `status`.
        """
        printed = 0
        while True:
            details = self.status(submission_id)
            if details.status.is_terminal():
                write(self._rest(submission_id, printed))
                return _ended(submission_id, details)
            printed = asyncio.run(self._tail(submission_id, printed, write))
            time.sleep(POLL_S)

    def _rest(self, submission_id: str, printed: int) -> str:
        """What was not printed yet; Ray's stream may miss the last lines."""
        try:
            return self.logs(submission_id)[printed:]
        except (RuntimeError, requests.exceptions.RequestException) as error:
            return f"(the end of the log cannot be read: {_first_line(error)})\n"

    async def _tail(self, submission_id: str, printed: int, write: Callable[[str], None]) -> int:
        """Pass on a stream, without its first `printed` characters, until it breaks; returns how many are printed now.

        Ray's stream begins with the log's beginning each time, and may close while the job runs.
        """
        seen = 0
        stream = self._client.tail_job_logs(submission_id)
        try:
            while True:
                chunk = await asyncio.wait_for(anext(stream), TAIL_S)
                new = chunk[max(0, printed - seen) :]
                seen += len(chunk)
                if new:
                    write(new)
                printed = max(printed, seen)
        except (StopAsyncIteration, TimeoutError):  # a silent stream may be a dead one: the status is asked
            return printed
        except Exception as error:  # a broken stream is no end of the job, whatever broke it; `status` tells
            self._told(f"the log stream broke ({_first_line(error)}); going on")
            return printed

    def stop(self, submission_id: str) -> Ended:
        """Stop a job and wait until it has ended; one that had ended is left as it is.

        Raises:
            JobLostError: see `status`.
        """
        while not (details := self.status(submission_id)).status.is_terminal():
            self._client.stop_job(submission_id)
            time.sleep(POLL_S)
        return _ended(submission_id, details)


def _ended(submission_id: str, details: JobDetails) -> Ended:
    codes = {JobStatus.SUCCEEDED: 0, JobStatus.STOPPED: EXIT_STOPPED, JobStatus.FAILED: details.driver_exit_code or 1}
    return Ended(submission_id, details.status.value, codes[details.status], _first_line(details.message or ""))


def _tries(wait_s: float, waiting: Callable[[], None]) -> Iterator[bool]:
    """Yield whether this is the last try, until the time is up; `waiting` is called before the first pause."""
    deadline, first = time.monotonic() + wait_s, True
    while True:
        last = time.monotonic() >= deadline
        yield last
        if last:
            return
        if first:
            waiting()
        first = False
        time.sleep(POLL_S)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, AuthenticationError) or "401" in str(error) or "403" in str(error)


def _takes_no_jobs_yet(error: Exception) -> bool:
    return isinstance(error, requests.exceptions.ConnectionError) or "No available agent" in str(error)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
