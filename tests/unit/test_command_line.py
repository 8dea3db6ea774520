"""The command line as a user meets it, in processes of its own: help, listings, exit codes, no traceback."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from orchestrator import __version__
from orchestrator.artifacts.storage import read_table
from orchestrator.cli import app
from orchestrator.cli_errors import told_plainly
from orchestrator.cli_help import OTHER, help_of
from orchestrator.cli_options import last_line
from orchestrator.errors import ConfigError, Stopped
from tests.smoke_line import PROJECT

RUNNER = CliRunner()


def test_the_help_is_one_page_whichever_way_it_is_asked_for_and_groups_every_command() -> None:
    page = re.sub(r"\x1b\[[0-9;]*m", "", help_of(app))
    assert RUNNER.invoke(app, ["--help"]).output == page
    assert OTHER not in page.splitlines()
    for heading in ("Begin", "The line", "Compare", "Use the student", "Look and clean up", "Jobs on a cluster"):
        assert heading in page.splitlines()


def test_the_help_loads_neither_rich_nor_the_settings() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\nfrom orchestrator.cli import main; main()\n"
        "heavy = {'rich.console', 'typer.rich_utils', 'pydantic', 'yaml', 'torch', 'numpy', 'pyarrow', 'ray'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "orchestrator init FOLDER" in done.stdout


@pytest.mark.parametrize("command", ["list losses", "explain losses.text", "schemas {tmp}"])
def test_looking_loads_no_torch_and_no_engine(command: str, tmp_path: Path) -> None:
    arguments = command.format(tmp=tmp_path).split()
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\nfrom orchestrator.cli import main\ntry: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'timm', 'open_clip'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_explanations_and_listings_are_json_for_scripts() -> None:
    told = RUNNER.invoke(app, ["explain", "losses.text.weight", "--json"])
    assert json.loads(told.output)[0]["default"] == "1"
    assert "text_contrastive" in json.loads(RUNNER.invoke(app, ["list", "losses", "--json"]).output)


def test_an_error_ends_with_2_and_its_lines_and_with_debug_as_it_is() -> None:
    ended = RUNNER.invoke(app, ["explain", "losses.text.temprature"])
    assert ended.exit_code == 2
    assert "losses.text_contrastive.temperature" in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = RUNNER.invoke(app, ["explain", "losses.text.temprature", "--debug"])
    assert isinstance(ended.exception, ConfigError)


LOOKS_ONLY = {"verify", "doctor", "jobs", "logs", "list", "explain", "show", "compare", "leaks", "store ls"}


def commands() -> dict[str, set[str]]:
    """Every command's name -> its options."""
    found: dict[str, set[str]] = {}

    def walk(group: Any, before: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, f"{name} ")
            else:
                found[before + name] = {option for one in command.params for option in one.opts}

    walk(typer.main.get_command(app), "")
    return found


def test_every_command_shows_its_errors_whole_and_what_does_more_than_look_can_say_first_what_it_would_do() -> None:
    assert {name for name, options in commands().items() if "--debug" not in options} == set()
    assert {name for name, options in commands().items() if "--dry-run" not in options} == LOOKS_ONLY


def test_the_version_is_told() -> None:
    assert RUNNER.invoke(app, ["--version"]).output == f"orchestrator {__version__}\n"


def test_a_dry_run_of_what_writes_tells_it_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = ["--set", f"storage_root={tmp_path / 'runs'}", "--set", "tracking.kind=none", "--dry-run"]
    told = RUNNER.invoke(app, ["plan", *SHEETS, *runs, "--json"]).stdout.splitlines()[-1]
    assert {row["stage"]: row["would"] for row in json.loads(told)["stages"]} == dict.fromkeys(
        ("index", "caption", "embed"), "make"
    )
    jobs = ["write-jobs", SHEETS[0], str(tmp_path / "jobs"), *SHEETS[1:], *runs, "--json"]
    rows = json.loads(RUNNER.invoke(app, jobs).stdout.splitlines()[-1])["stages"]
    assert [(row["folder"], row["would"]) for row in rows[-2:]] == [
        (str(tmp_path / "jobs" / f"{arm}.json"), "write") for arm in ("baseline", "distilled")
    ]
    told = RUNNER.invoke(app, ["schemas", str(tmp_path / "schemas"), "--dry-run"]).output.splitlines()
    assert f"would write {tmp_path}/schemas/experiment.json" in told
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "a long secret one")
    server = ["mlflow-server", "--folder", str(tmp_path / "server"), "--allowed-host", "mlflow.example.org"]
    told = RUNNER.invoke(app, [*server, "--dry-run"]).output
    for part in ("http://127.0.0.1:5000", "mlflow.example.org:5000", "that of MLFLOW_AUTH_ADMIN_PASSWORD"):
        assert part in told
    assert "secret" not in told
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD")
    assert f"drawn into {tmp_path}/server/secrets/" in RUNNER.invoke(app, [*server, "--dry-run"]).output
    assert list(tmp_path.iterdir()) == []


SHEETS = ["jobs/experiments/smoke.yaml", "--execution", "jobs/executions/in_process.yaml"]


def test_a_stage_ends_with_a_line_of_json_that_says_what_was_made_or_what_went_wrong(tmp_path: Path) -> None:
    index = ["index", *SHEETS, "--set", f"storage_root={tmp_path}", "--set", "tracking.kind=none", "--json"]
    ended = RUNNER.invoke(app, index)
    told = json.loads(ended.stdout.splitlines()[-1])
    assert (told["command"], told["status"], told["exit_code"], ended.exit_code) == ("index", "SUCCEEDED", 0, 0)
    assert read_table(Path(told["artifacts"]["index"]) / "images.parquet").num_rows > 100

    told = json.loads(RUNNER.invoke(app, ["run", *SHEETS, "--dry-run", "--json"]).stdout.splitlines()[-1])
    assert told["dry_run"]
    assert {"stage": "report", "folder": "smoke/report", "would": "make or reuse"} in told["stages"]

    for wrong, code, error in (
        (["train", *SHEETS, "--rebuild", "trian", "--json"], 2, "--rebuild trian"),
        (["train", *SHEETS, "training.epochs=-1", "--json"], 2, "training.epochs"),
        (["train", *SHEETS, "--quiet", "--verbose", "--json"], 2, "--quiet and --verbose"),
        (["write-jobs", SHEETS[0], str(tmp_path), "training.epochs=-1", "--json"], 2, "training.epochs"),
        (["reproduce", "all", "--scale", "tiny", "--json"], 2, "--scale tiny"),
        (["reproduce", "all", "--dry-run", "--quiet", "--verbose", "--json"], 2, "--quiet and --verbose"),
        (["export", str(tmp_path / "none"), "--json"], 2, "does not exist"),
        (["predict", str(tmp_path / "none"), str(tmp_path), "--json"], 2, "does not exist"),
    ):
        ended = RUNNER.invoke(app, wrong)
        told = json.loads(ended.stdout.splitlines()[-1])
        assert (told["command"], told["status"], told["exit_code"], ended.exit_code) == (wrong[0], "FAILED", code, code)
        assert error in told["error"]
        assert f"error: {told['error']}" in ended.stderr


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [(KeyboardInterrupt(), "STOPPED", 130), (Stopped(7), "STOPPED", 75), (ZeroDivisionError("0"), "FAILED", 1)],
)
def test_the_last_line_tells_stops_and_what_nobody_foresaw(
    problem: BaseException, status: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((typer.Exit, ZeroDivisionError)), last_line("train", True), told_plainly(debug=False):
        raise problem
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["exit_code"]) == (status, code)


def test_verbose_tells_why_something_is_made_or_reused_and_of_what(tmp_path: Path) -> None:
    index = ["index", *SHEETS, "--set", f"storage_root={tmp_path}", "--set", "tracking.kind=none"]
    plain = RUNNER.invoke(app, index).stdout
    assert "fingerprint" not in plain
    reused = RUNNER.invoke(app, [*index, "--verbose"]).stdout
    assert re.search(r"^\d\d:\d\d:\d\d index     fingerprint [0-9a-f]{12}", reused, re.MULTILINE)
    assert "reused smoke/index" in reused
    again = RUNNER.invoke(app, [*index, "--verbose", "dataset.num_report_per_class=7"]).stdout
    assert re.search("to be made: it was made with other settings: .*num_report_per_class", again)


def test_a_full_disk_and_ctrl_c_are_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for error, code, told in (
        (OSError(errno.ENOSPC, "No space left on device", "runs/demo/x"), 2, "make room"),
        (KeyboardInterrupt(), 130, "the same command continues"),
    ):
        with pytest.raises(typer.Exit) as ended, told_plainly(debug=False):
            raise error
        assert ended.value.exit_code == code
        assert told in capsys.readouterr().err


def test_what_nobody_foresaw_is_three_lines_and_a_file_with_the_traceback() -> None:
    code = (
        "import sys; sys.argv[1:] = ['list', 'losses']\nimport orchestrator.cli, orchestrator.guide.kinds as kinds\n"
        "del kinds.UNIONS['losses'], kinds.FOLDERS\norchestrator.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3, done.stderr
    written = Path(lines[1].split()[-1])
    assert "Traceback" in written.read_text()
    written.unlink()
