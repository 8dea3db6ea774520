"""The papers' tables: a tiny grid is made cell by cell, resumed, counted and written as a page; nothing is by hand."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.artifacts.storage import read_json
from orchestrator.cli import app
from orchestrator.reporting.cell_record import CellRecords
from tests.smoke_line import PROJECT

TABLE = {
    "target": "tiny:table1", "title": "a tiny table", "question": "Does it hold together?", "expected": "nothing",
    "cost": {"small": "seconds"},
    "columns": {"all": {"heading": "Avg", "name": "all"},
                "later": {"heading": "later", "name": "all", "suffix": "_later"}},
    "rows": {
        "base": {"cell": "grid/baseline", "paper": {"all": 57.8}},
        "ours": {"cell": "grid/distilled", "paper": {"all": 60.75}},
        "teacher": {"cell": "grid/(spaces)"},
        "other": {"cell": "nowhere/arm", "small": "nobody has that data"},
    },
    "findings": [{"says": "distilling helps", "row": "ours", "than": "base", "column": "all"},
                 {"says": "so does the other", "row": "other", "than": "base", "column": "all"}],
}  # fmt: skip
GRID = {
    "sheet": str(PROJECT / "jobs" / "experiments" / "smoke.yaml"), "differs": "everything is tiny",
    "settings": {"training.epochs": 1, "image_teacher_views": 0, "sweep": None, "dataset.imbalance_ratio": 2,
                 "student": {"kind": "timm", "name": "test_efficientnet"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reproductions with one table, whose second column's cells start from the first one's."""
    found = tmp_path_factory.mktemp("reproductions")
    (found / "small").mkdir()
    (found / "tiny_table1.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    (found / "small" / "grid.yaml").write_text(yaml.safe_dump(GRID))
    (found / "small" / "grid_later.yaml").write_text(yaml.safe_dump({**GRID, "starts_from": "grid"}))
    return found


def reproduce(folder: Path, *arguments: str) -> tuple[int, str]:
    """The command in process and untracked, with its exit code."""
    settings = ["--set", f"storage_root={folder / 'runs'}", "--set", "tracking.kind=none"]
    sheet = ["-x", str(PROJECT / "jobs" / "executions" / "in_process.yaml")]
    page = ["--folder", str(folder), "--page", str(folder / "RESULTS.md")]
    ended = CliRunner().invoke(app, ["reproduce", *arguments, *sheet, *settings, *page])
    return ended.exit_code, ended.output


def test_cells_are_kept_as_they_end_and_resumed_and_count_only_with_enough_epochs_and_seeds(folder: Path) -> None:
    code, told = reproduce(folder, "tiny:table1", "--dry-run")
    assert (code, not (folder / "runs").exists()) == (0, True), told
    assert "distilled: 0 of 3 seeds are there, not measured" in told

    code, told = reproduce(folder, "tiny:table1", "--measure", "--cells", "grid/b*")
    assert code == 0, told
    epoch = read_json(folder / "small" / "epoch_seconds.json")["grid/baseline"]
    code, told = reproduce(folder, "tiny:table1", "--dry-run", "--cells", "grid/b*")
    assert f"baseline: 0 of 3 seeds are there, {epoch / 60:.1f} min each" in told
    assert not (folder / "results").exists()
    code, told = reproduce(folder, "tiny:table1", "--dry-run", "--cells", "grid/b*", "--quiet", "--json")
    last = json.loads(told.splitlines()[-1])
    assert last["cells"] == [{"cell": "grid/baseline", "seeds": [], "missing": [0, 1, 2]}]
    assert (code, last["dry_run"]) == (0, True)

    code, told = reproduce(folder, "tiny:table1", "--seeds", "0,1", "--cells", "grid/b*", "--json")
    assert code == 0, told
    cells = [{"cell": "grid/baseline", "seeds": [0, 1], "missing": []}]
    last = json.loads(told.splitlines()[-1])
    assert (last["command"], last["status"], last["scale"], last["cells"]) == ("reproduce", "SUCCEEDED", "small", cells)
    assert last["page"] == str(folder / "RESULTS.md")
    records = CellRecords(folder / "results")
    assert [one.seed for one in records.read("small", "grid", "baseline")] == [0, 1]
    assert records.read("small", "grid", "distilled") == []
    made = folder / "runs" / "reproduce-small-grid" / "cells" / "baseline"
    kept = records.read("small", "grid", "baseline")[1]
    assert kept.values["all"] == read_json(made / "seed-1" / "evaluation.json")["metrics"]["all"]
    assert kept.command == "orchestrator reproduce tiny:table1 --scale small --seeds 0,1 --cells 'grid/b*'"
    before = (made / "seed-0" / "manifest.json").stat().st_mtime_ns

    code, told = reproduce(folder, "tiny:table1", "--seeds", "0,1,2")
    assert code == 0, told
    assert (made / "seed-0" / "manifest.json").stat().st_mtime_ns == before
    later = records.read("small", "grid_later", "distilled")
    assert [(one.seed, one.epochs) for one in later] == [(0, 2), (1, 2), (2, 2)]
    started = read_json(folder / "runs/reproduce-small-grid_later/cells/distilled/seed-2/manifest.json")
    assert started["settings"]["student"]["checkpoint"].endswith("grid/cells/distilled/seed-2/student.safetensors")
    assert set(records.read("small", "grid", "(spaces)")[0].values) >= {"truth/silhouette", "image_teacher/silhouette"}

    page = (folder / "RESULTS.md").read_text()
    assert "1 epochs, at least 35 count" in page
    assert "| other |  |  |  |  | nobody has that data |" in page
    assert "so does the other: **not run** (other: nobody has that data)" in page
    assert "| base | 57.8 | (" in page
    assert "| ours | 60.75 | (" in page
    assert "small/grid | baseline, distilled" in page.replace("(spaces), ", "")


def test_a_record_of_other_settings_is_not_counted_and_unknown_targets_are_told(folder: Path) -> None:
    changed = {**GRID, "settings": {**GRID["settings"], "training.batch_size": 8}}
    (folder / "small" / "grid.yaml").write_text(yaml.safe_dump(changed))
    code, told = reproduce(folder)
    assert code == 0, told
    assert "it was run with other settings than the sheet has now" in (folder / "RESULTS.md").read_text()

    code, told = reproduce(folder, "tiny:table2")
    assert (code, "did you mean tiny:table1?" in told) == (2, True), told
    code, told = reproduce(folder, "tiny:table1", "--data", str(folder))
    assert (code, "no cells at scale data" in told) == (2, True), told
