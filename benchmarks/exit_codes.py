"""What a submitted job's command returns, end by end: `ray job submit` beside `orchestrator submit`.

Every end is a real one, on a Ray cluster of its own: a job that ends well, one whose driver ends with 7, one whose
driver is killed, one that is stopped by another command, one whose log stream is cut while it runs, one whose follower
is interrupted (SIGINT), and one whose cluster is killed. Prints the table of docs/jobs.md.

    python -m benchmarks.exit_codes
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.on_ray.cut_proxy import CutProxy
from tests.on_ray.job_cluster import SCRIPT, Head, start_head

WAIT_S = 300.0
Command = Callable[..., list[str]]


def ours(head: Head, job: str, address: str, name: str) -> list[str]:
    """`orchestrator submit`."""
    return head.command("submit", "--id", name, job, address=address)


def rays(head: Head, job: str, address: str, name: str) -> list[str]:
    """`ray job submit`."""
    options = ["--address", address, "--working-dir", str(head.working_dir), "--submission-id", name]
    return [str(SCRIPT.with_name("ray")), "job", "submit", *options, "--", sys.executable, "-m", f"jobs.{job}"]


def code_of(command: list[str], then: tuple[str, Callable[["subprocess.Popen[str]"], None]] | None = None) -> int | str:
    """The exit code of a command; `then`: what is done once it has printed a line."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    if then is not None:
        line, do = then
        seen = []
        for printed in process.stdout:
            seen.append(printed)
            if printed.strip() == line:
                break
        else:
            raise SystemExit(f"{command[0]} ended without {line!r}:\n{''.join(seen)[-2000:]}")
        do(process)
    try:
        process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"still waiting after {WAIT_S:.0f} s"
    return process.returncode


def ends(head: Head, command: Command, who: str) -> dict[str, int | str]:
    """The exit codes of one command for all ends; the last end takes the cluster along."""

    def plain(job: str, then: tuple[str, Callable[["subprocess.Popen[str]"], None]] | None = None) -> int | str:
        code = code_of(command(head, job, head.address, f"{who}-{job}-{secrets.token_hex(3)}"), then)
        print(f"{who} {job}: {code}", flush=True)
        return code

    def stop(process: "subprocess.Popen[str]") -> None:
        subprocess.run(head.command("stop", f"{who}-stopped"), check=True, capture_output=True)

    def cut() -> int | str:
        with CutProxy(head.address) as proxy:
            return code_of(
                command(head, "count", proxy.address, f"{who}-cut"), ("line 9", lambda process: proxy.cut() and None)
            )

    def lose(process: "subprocess.Popen[str]") -> None:
        for child in psutil.Process(head.process.pid).children(recursive=True):
            child.kill()
        head.process.kill()
        head.process.wait()

    found = {"success": plain("greet"), "the driver ended with code 7": plain("fail")}
    found["the driver was killed"] = plain("refuse")
    found["stopped by another command"] = code_of(
        command(head, "wait", head.address, f"{who}-stopped"), ("waiting", stop)
    )
    found["the log stream was cut, the job runs"] = cut()
    found["SIGINT to the command, the job goes on"] = plain(
        "wait", ("waiting", lambda process: process.send_signal(signal.SIGINT))
    )
    found["the cluster was killed"] = plain("wait", ("waiting", lose))
    return found


def main() -> int:
    """A cluster for each command, and the table."""
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would children
    found = {}
    for who, command in (("ray", rays), ("orchestrator", ours)):
        with tempfile.TemporaryDirectory() as folder:
            head = start_head(Path(folder))
            _until_jobs_are_taken(head)
            try:
                found[who] = ends(head, command, who)
            finally:
                head.close()
    print("\n| end | `ray job submit` | `orchestrator submit` |\n|---|---|---|")
    for end, code in found["ray"].items():
        print(f"| {end} | {code} | {found['orchestrator'][end]} |")
    return 0


def _until_jobs_are_taken(head: Head) -> None:
    """Ray's own command does not wait for that."""
    until = time.monotonic() + WAIT_S
    while head.run("submit", "--again", "greet").returncode != 0:
        if time.monotonic() > until:
            raise SystemExit("the cluster takes no jobs")


if __name__ == "__main__":
    sys.exit(main())
