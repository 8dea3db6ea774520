"""The command line as a user meets it, in processes of its own: help, listings, exit codes, no traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.cli_errors import told_plainly
from orchestrator.cli_help import OTHER, help_of
from orchestrator.errors import ConfigError
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


def test_a_full_disk_and_ctrl_c_are_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    import errno

    import typer

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
