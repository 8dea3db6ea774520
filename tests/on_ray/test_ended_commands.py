"""Ctrl-C and SIGTERM end a command on Ray with its own exit code, one line, and nothing left behind."""

import signal
import subprocess
import sys

import psutil
import pytest

pytestmark = pytest.mark.ray
# The command waits for a task that takes for ever, on a cluster of its own.
COMMAND = """
import os, time, typer
from orchestrator.cli_errors import told_plainly
from orchestrator.config.execution import ClusterSettings
from orchestrator.on_ray.cluster import Cluster
import ray

def main():
    with told_plainly(debug=False):
        cluster = Cluster(ClusterSettings(num_cpus=1))
        try:
            sleeps = ray.remote(lambda: (print, time.sleep(600))).remote()
            print("waits", flush=True)
            ray.get(sleeps)
        finally:
            cluster.close()

typer.run(main)
"""


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [(signal.SIGTERM, 143, "terminated; the same"), (signal.SIGINT, 130, "interrupted; the same")],
)
def test_a_command_that_is_told_to_end_ends_with_all_that_it_started(
    number: signal.Signals, code: int, told: str
) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{COMMAND}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "waits\n"
    started = psutil.Process(command.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in started)
    command.send_signal(number)
    _, errors = command.communicate()
    assert command.returncode == code
    assert told in errors
    assert "***" not in errors, "not Ray's stack either"
    _, left = psutil.wait_procs(started, timeout=60)
    assert left == []
