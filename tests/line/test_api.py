"""The Python API walks the line of the command line: its tables are what lies on disk; the example notebook runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.api import Line, Results
from orchestrator.errors import ArtifactError, ConfigError
from tests.smoke_line import PROJECT, SMOKE

FAST = {"training.epochs": 2, "sweep": None}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = str(tmp_path_factory.mktemp("api"))
    return Line(SMOKE, FAST, execution_overrides={"storage_root": root, "tracking.kind": "none"}, quiet=True)


@pytest.fixture(scope="module")
def results(line: Line) -> Results:
    assert set(line.forecast()["what"]) >= {"make"}
    return line.run()


def test_the_tables_are_what_lies_on_disk(results: Results) -> None:
    for arm in ("baseline", "distilled"):
        told = json.loads((results.folder / "evaluations" / arm / "evaluation.json").read_text())
        assert results.metrics.loc[arm, "all"] == pytest.approx(100 * told["metrics"]["all"])
        assert results.student(arm).is_file()
    images = results.table("index", "images")
    assert images.num_rows == sum(results.artifacts["index"].counts[split] for split in ("train", "select", "report"))
    assert len(results.per_class) == 2 * 6
    curve = results.curves.query("arm == 'distilled' and metric == 'train/text'")
    assert curve["epoch"].tolist() == [1, 2]
    assert results.trials.empty
    assert results.html.read_text().startswith("<!")


def test_a_second_run_makes_nothing(line: Line, results: Results) -> None:
    written = {path: path.stat().st_mtime_ns for path in results.folder.rglob("manifest.json")}
    assert set(line.forecast("train")["what"]) == {"reuse"}
    line.run()
    assert {path: path.stat().st_mtime_ns for path in results.folder.rglob("manifest.json")} == written


def test_mistakes_are_told_as_on_the_command_line(line: Line, results: Results) -> None:
    with pytest.raises(ConfigError, match="did you mean training"):
        Line(SMOKE, {"trainig.epochs": 2})
    with pytest.raises(ConfigError, match="one of index"):
        line.run("trains")
    with pytest.raises(ArtifactError, match="classes, images"):
        results.table("index", "imgaes")
    with pytest.raises(ArtifactError, match="baseline, distilled"):
        results.student("best")
    with pytest.raises(ArtifactError, match="no report yet"):
        _ = Results(results.folder / "index").metrics


def test_the_example_notebook_runs_cell_by_cell(tmp_path: Path) -> None:
    notebook = json.loads((PROJECT / "docs" / "examples" / "line.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell.get("outputs") == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(cells))
    env = {"TMPDIR": str(tmp_path), "PATH": "", "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=PROJECT, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert "distilled" in done.stdout
