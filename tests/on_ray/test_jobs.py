"""Jobs on a real cluster: sent once, followed over cut streams, stopped, and ended with the driver's own code.

The cluster is a process of its own, so that it can be lost. The jobs are files of a small working directory.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.on_ray.cut_proxy import CutProxy

pytestmark = pytest.mark.ray
SCRIPT = Path(sys.executable).parent / "orchestrator"
HEAD = """
import sys, tempfile, ray
context = ray.init(address="local", num_cpus=2, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=0,
                   object_store_memory=100 * 2**20, log_to_driver=False, _temp_dir=tempfile.mkdtemp(prefix="orc-"))
print(context.dashboard_url, flush=True)
sys.stdin.read()
ray.shutdown()
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
        options = ["--address", address or self.address, "--wait-s", "20"]
        if name == "submit":
            options += ["--working-dir", str(self.working_dir), "--python", sys.executable]
        return [str(SCRIPT), name, *options, *rest]

    def run(self, *arguments: str, address: str | None = None, **extra: Any) -> "subprocess.CompletedProcess[str]":
        """The command to its end."""
        return subprocess.run(
            self.command(*arguments, address=address), capture_output=True, text=True, check=False, **extra
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("jobs_here")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "__init__.py").touch()
    for name, text in JOBS.items():
        (folder / "jobs" / f"{name}.py").write_text(text)
    process = subprocess.Popen([sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # sent at once, while the cluster takes no jobs yet: that is waited for
    yield Head(process, f"http://{process.stdout.readline().strip()}", folder)
    if process.poll() is None:
        process.communicate("", timeout=60)


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


def last_line(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_job_sent_at_once_is_followed_to_its_end_and_its_last_line_is_json(head: Head) -> None:
    done = head.run("submit", "greet", "a world", "x=1;2")
    assert done.returncode == 0, done.stderr
    assert "hello a world x=1;2\n" in done.stdout
    told = last_line(done)
    assert (told["status"], told["exit_code"]) == ("SUCCEEDED", 0)
    assert told["submission_id"].startswith("greet-")


def test_the_same_command_again_sends_nothing_unless_it_is_asked_for(head: Head) -> None:
    first = last_line(head.run("submit", "greet", "again"))
    second = head.run("submit", "greet", "again")
    assert "nothing was sent" in second.stderr
    assert "hello again\n" in second.stdout
    assert last_line(second)["submission_id"] == first["submission_id"]
    third = head.run("submit", "--again", "greet", "again")
    assert last_line(third)["submission_id"] == first["submission_id"] + "-2"


def test_a_failed_driver_gives_its_own_code_and_the_same_command_tries_again(head: Head) -> None:
    done = head.run("submit", "fail")
    assert done.returncode == 7
    assert last_line(done)["status"] == "FAILED"
    assert last_line(head.run("submit", "fail"))["submission_id"].endswith("-2")


def test_a_killed_driver_is_no_success(head: Head) -> None:
    assert head.run("submit", "refuse").returncode not in (0, 80, 81)


def test_a_stopped_job_has_a_code_of_its_own(head: Head) -> None:
    with following(head.command("submit", "wait")) as process:
        read_until(process, "waiting")
        listed = [json.loads(line) for line in head.run("jobs", "--json").stdout.splitlines()]
        (running,) = [job["submission_id"] for job in listed if job["status"] == "RUNNING"]
        stopped = head.run("stop", running)
        rest, _ = process.communicate()
        assert process.returncode == 80
    assert stopped.returncode == 0
    assert json.loads(rest.splitlines()[-1])["status"] == "STOPPED"
    assert "\nwaiting\n" in head.run("logs", running).stdout


def test_a_cut_log_stream_loses_no_line_and_repeats_none(head: Head) -> None:
    with CutProxy(head.address) as proxy:
        seen: list[str] = []
        with following(head.command("submit", "count", address=proxy.address)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                seen.append(line.rstrip("\n"))
                if seen[-1] in ("line 9", "line 29"):
                    assert proxy.cut() > 0
            assert process.wait() == 0
    assert [line for line in seen if line.startswith("line")] == [f"line {n}" for n in range(60)]


def test_interrupted_without_a_terminal_the_job_goes_on(head: Head) -> None:
    with following(head.command("submit", "--id", "left", "wait")) as process:
        read_until(process, "waiting")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
        assert process.returncode == 130
    assert "left goes on" in told
    assert '"status": "RUNNING"' in head.run("jobs", "--json").stdout
    head.run("stop", "left")


def test_a_job_has_the_variables_it_was_given_and_neither_data_nor_environments(head: Head) -> None:
    for name in (
        "runs/store.db",
        ".venv/pyvenv.cfg",
        "images/one.jpg",
        "auth_token",
        "sheets/mine.yaml",
        "made/manifest.json",
    ):
        path = head.working_dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    done = head.run("submit", "--env", "COLOUR", "tell", env={**os.environ, "COLOUR": "red"})
    assert "COLOUR is red and files are ['jobs', 'sheets']" in done.stdout


def test_the_doctor_looks_at_the_storage_from_every_node_of_the_cluster(head: Head, tmp_path: Path) -> None:
    (head.working_dir / "here.yaml").write_text("name: here\nengine: ray\n")
    told = ("--json", "--execution", "here.yaml", "--set", f"storage_root={tmp_path / 'runs'}")
    done = head.run("submit", "look", str(SCRIPT), "doctor", *told)
    assert '"1 nodes share storage_root"' in done.stdout, done.stdout + done.stderr
    assert list((tmp_path / "runs").iterdir()) == []  # nothing is left there


def test_a_secret_is_refused_before_anything_is_sent(head: Head) -> None:
    done = head.run("submit", "greet", "captioner.api_key=hunter2")
    assert done.returncode == 2
    assert "captioner.api_key=*** looks like a secret" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_wrong_token_is_told_as_such(head: Head) -> None:
    done = head.run("jobs", env={**os.environ, "RAY_AUTH_TOKEN": "0" * 64})
    assert done.returncode == 2
    assert "refused the token" in done.stderr


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "0" * 64}])
def test_a_job_without_the_token_is_refused_by_the_cluster(head: Head, headers: dict[str, str]) -> None:
    body = json.dumps({"entrypoint": f"touch {head.working_dir}/pwned"}).encode()
    request = urllib.request.Request(
        f"{head.address}/api/jobs/", data=body, headers={"Content-Type": "application/json", **headers}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code in (401, 403)
    caught.value.close()
    assert not (head.working_dir / "pwned").exists()


def test_a_cluster_that_goes_away_is_told_as_lost(head: Head) -> None:
    command = [*head.command("submit", "wait"), "lost"]
    command[command.index("--wait-s") + 1] = "3"
    with following(command) as process:
        read_until(process, "waiting")
        ending = threading.Thread(target=head.process.communicate, args=("",))
        ending.start()
        out, told = process.communicate(timeout=120)
        ending.join()
        assert process.returncode == 81, told
    assert json.loads(out.splitlines()[-1])["status"] == "LOST"


def test_no_cluster_at_the_address_is_an_error_with_a_remedy() -> None:
    done = subprocess.run(
        [str(SCRIPT), "jobs", "--address", "http://127.0.0.1:9", "--wait-s", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Ray cluster answers" in done.stderr


def test_the_doctor_finds_that_an_execution_does_not_fit_its_cluster(tmp_path: Path) -> None:
    asked = ["storage_root=" + str(tmp_path), "cluster.num_cpus=1", "training.num_workers=4"]
    settings = [part for setting in asked for part in ("--set", setting)]
    done = subprocess.run([str(SCRIPT), "doctor", "--json", *settings], capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    problems = [finding["told"] for finding in found if finding["level"] == "problem"]
    assert done.returncode == 1
    assert any(told.startswith("training needs 4 CPUs at once, the cluster has 1") for told in problems), problems
