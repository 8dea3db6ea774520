"""A Ray cluster in a process of its own, so that it can be lost, and a small working directory with jobs for it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(sys.executable).parent / "orchestrator"
# Its agent, which takes jobs, listens on a port of its own: of several Rays on one machine only one can have the usual.
HEAD = """
import shutil, sys, tempfile
from ray.cluster_utils import Cluster
folder = tempfile.mkdtemp(prefix="orc-")
head = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "temp_dir": folder, "include_dashboard": True,
        "dashboard_host": "127.0.0.1", "dashboard_port": 0, "dashboard_agent_listen_port": 0}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.head_node.webui_url, flush=True)
sys.stdin.read()
cluster.shutdown()
shutil.rmtree(folder, ignore_errors=True)
"""
JOBS = {
    "greet": "import sys\nprint('hello', *sys.argv[1:])\n",
    "fail": "import sys\nprint('no')\nsys.exit(7)\n",
    "refuse": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "count": "import time\nfor n in range(60):\n    print('line', n, flush=True)\n    time.sleep(0.1)\n",
    "wait": "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n",
    "tell": "import os\nprint('COLOUR is', os.environ.get('COLOUR'), 'and files are', sorted(os.listdir('.')))\n",
    "look": "import subprocess, sys\nsys.exit(subprocess.run(sys.argv[1:]).returncode)\n",
}


@dataclass
class Head:
    """A running cluster and a working directory with jobs."""

    process: "subprocess.Popen[str]"
    address: str
    working_dir: Path

    def command(self, *arguments: str, address: str | None = None) -> list[str]:
        """`orchestrator NAME ... `, its options filled in."""
        name, *rest = arguments
        options = ["--address", address or self.address, "--wait-s", "120"]
        if name == "submit":
            options += ["--working-dir", str(self.working_dir), "--python", sys.executable]
        return [str(SCRIPT), name, *options, *rest]

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """The command to its end, in a process of its own."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
        )

    def close(self) -> None:
        """End the cluster, unless it was lost."""
        if self.process.poll() is None:
            self.process.communicate("", timeout=60)


def start_head(folder: Path) -> Head:
    """Start a cluster, and write its jobs below `folder`; it may take no jobs yet."""
    (folder / "jobs").mkdir()
    (folder / "jobs" / "__init__.py").touch()
    for name, text in JOBS.items():
        (folder / "jobs" / f"{name}.py").write_text(text)
    process = subprocess.Popen([sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return Head(process, f"http://{process.stdout.readline().strip()}", folder)


@contextmanager
def following(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A command that runs, ended with the block."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", line: str) -> None:
    """Read what a process prints up to this line."""
    assert process.stdout is not None
    assert any(printed == line + "\n" for printed in process.stdout), f"it ended without {line!r}"
