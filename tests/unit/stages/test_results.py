"""RESULTS.md is what the records give: the committed one, and one with the cells of the evidence."""

from pathlib import Path

import pytest
import yaml

from orchestrator.config.load import load_experiment
from orchestrator.reporting.cell_record import CellRecord, CellRecords
from orchestrator.stages.recorded import identity
from orchestrator.stages.results import EVIDENCE_SHEET, RESULTS, write

PROJECT = Path(__file__).resolve().parents[3]


def test_the_committed_page_is_the_one_that_the_records_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    write(Path("reproductions"), tmp_path / "page.md")
    told = "a table, a sheet or a record changed; if that is meant, `orchestrator reproduce` writes the page anew"
    assert (PROJECT / "RESULTS.md").read_text() == (tmp_path / "page.md").read_text(), told


def test_the_evidence_is_told_of_the_seeds_that_its_arms_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    table = {
        "target": "tiny:table1", "title": "t", "question": "q", "expected": "e", "cost": {"full": "none"},
        "columns": {"all": {"heading": "Avg", "name": "all"}}, "rows": {"base": {"cell": "g/a"}},
    }  # fmt: skip
    (tmp_path / "tiny_table1.yaml").write_text(yaml.safe_dump(table))
    experiment, kept = load_experiment(EVIDENCE_SHEET), CellRecords(tmp_path / RESULTS)

    def keep(arm: str, seeds: range, value: float) -> None:
        for seed in seeds:
            number = value + 0.1 * seed  # seeds differ more than the arms
            kept.write(
                CellRecord(
                    scale="small", group="evidence", arm=arm, seed=seed, experiment=identity(experiment, arm),
                    epochs=35, seconds=60, finished_utc="2026-01-02T03:04:05+00:00", hardware="2 cores", engine="ray",
                    command="make evidence", version="0",
                    values=dict.fromkeys(("all", "many", "medium", "few"), number),
                )
            )  # fmt: skip

    keep("baseline", range(4), 0.30)
    keep("kd_t", range(4), 0.32)
    keep("permuted", range(3), 0.29)
    keep("random", range(2), 0.99)
    write(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "3 paired seeds: 0, 1, 2." in page
    assert "| kd_t - baseline | **+2.0 ± 0.0** |" in page
    assert "| kd_t - permuted | **+3.0 ± 0.0** |" in page
    assert "random (2 seeds)" in page
    assert "random - baseline" not in page
    assert "| small/evidence | baseline, kd_t, permuted, random | 0, 1, 2, 3 | 35 | 2026-01-02 | 13 min |" in page
