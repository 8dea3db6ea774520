"""Jobs on a real cluster: sent once, followed over cut streams, stopped, and ended with the driver's own code.

The commands are called in this process, but for those that are interrupted or lose their cluster: each process of its
own would import Ray anew.
"""

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.on_ray.cut_proxy import CutProxy
from tests.on_ray.job_cluster import SCRIPT, Head, following, read_until, start_head

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A cluster; the first job is sent at once, while it takes none yet: that is waited for."""
    started = start_head(tmp_path_factory.mktemp("jobs_here"))
    yield started
    started.close()


def run(head: Head, *arguments: str) -> Result:
    """The command to its end, in this process."""
    return CliRunner().invoke(app, head.command(*arguments)[1:])


def last_line(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_job_sent_at_once_is_followed_to_its_end_and_the_same_command_sends_it_again_only_when_asked(
    head: Head,
) -> None:
    done = run(head, "submit", "greet", "a world", "x=1;2")
    assert done.exit_code == 0, done.stderr
    assert "hello a world x=1;2\n" in done.stdout
    told = last_line(done)
    assert (told["status"], told["exit_code"]) == ("SUCCEEDED", 0)
    assert told["submission_id"].startswith("greet-")
    second = run(head, "submit", "greet", "a world", "x=1;2")
    assert "nothing was sent" in second.stderr
    assert "hello a world x=1;2\n" in second.stdout
    assert last_line(second)["submission_id"] == told["submission_id"]
    third = run(head, "submit", "--again", "greet", "a world", "x=1;2")
    assert last_line(third)["submission_id"] == told["submission_id"] + "-2"


def test_a_failed_driver_gives_its_own_code_and_the_same_command_tries_again(head: Head) -> None:
    done = run(head, "submit", "fail")
    assert done.exit_code == 7
    assert last_line(done)["status"] == "FAILED"
    assert last_line(run(head, "submit", "fail"))["submission_id"].endswith("-2")


def test_a_killed_driver_is_no_success(head: Head) -> None:
    assert run(head, "submit", "refuse").exit_code not in (0, 80, 81)


def test_a_stopped_job_has_a_code_of_its_own(head: Head) -> None:
    with following(head.command("submit", "wait")) as process:
        read_until(process, "waiting")
        listed = [json.loads(line) for line in run(head, "jobs", "--json").stdout.splitlines()]
        (running,) = [job["submission_id"] for job in listed if job["status"] == "RUNNING"]
        asked = run(head, "stop", running, "--dry-run")
        assert (asked.exit_code, last_line(asked)["status"]) == (0, "RUNNING")
        stopped = run(head, "stop", running)
        rest, _ = process.communicate()
        assert process.returncode == 80
    assert stopped.exit_code == 0
    assert json.loads(rest.splitlines()[-1])["status"] == "STOPPED"
    assert "\nwaiting\n" in run(head, "logs", running).stdout


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
    assert '"status": "RUNNING"' in run(head, "jobs", "--json").stdout
    run(head, "stop", "left")


def test_a_job_has_the_variables_it_was_given_and_neither_data_nor_environments(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
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
    done = run(head, "submit", "--env", "COLOUR", "tell")
    assert "COLOUR is red and files are ['jobs', 'sheets']" in done.stdout


def test_the_doctor_looks_from_every_node_of_the_cluster_and_finds_that_an_execution_does_not_fit_it(
    head: Head, tmp_path: Path
) -> None:
    (head.working_dir / "here.yaml").write_text("name: here\nengine: ray\n")
    told = ("--json", "--execution", "here.yaml", "--set", f"storage_root={tmp_path / 'runs'}")
    done = run(head, "submit", "look", str(SCRIPT), "doctor", *told, "--set", "training.num_workers=4")
    assert '"1 nodes share storage_root"' in done.stdout, done.stdout + done.stderr
    assert list((tmp_path / "runs").iterdir()) == []  # nothing is left there
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"area"')]
    problems = [finding["told"] for finding in found if finding["level"] == "problem"]
    assert done.exit_code == 1
    assert any(told.startswith("training needs 4 CPUs at once, the cluster has 2") for told in problems), problems


def test_a_secret_is_refused_before_anything_is_sent(head: Head) -> None:
    done = run(head, "submit", "greet", "captioner.api_key=hunter2")
    assert done.exit_code == 2
    assert "captioner.api_key=*** looks like a secret" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_wrong_token_is_told_as_such(head: Head) -> None:
    done = head.run("jobs", env={"RAY_AUTH_TOKEN": "0" * 64})
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
    done = CliRunner().invoke(app, ["jobs", "--address", "http://127.0.0.1:9", "--wait-s", "0"])
    assert done.exit_code == 2
    assert "no Ray cluster answers" in done.stderr
