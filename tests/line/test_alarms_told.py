"""A teacher that is wrong raises an alarm in a real training, and MLflow, the terminal and the report tell it."""

import json
from pathlib import Path

import pytest

from orchestrator.tracking.mlflow_store import open_client
from tests.line.command import Smoke

# Hashed towers have no common space, so the teacher's class is right by chance only, and the filter drops most images.
WRONG_TEACHER = (
    "text_encoder={kind: hashed, dim: 32}", "image_teacher={kind: hashed, dim: 32}", "image_teacher_views=0",
    "text_sources=[]", "sweep=null", "arms={distilled: {}}", "student.embedding={}",
    "losses={classification: {kind: logit_adjusted_cross_entropy}, proximity: {kind: vl_proximity}}",
    "training.evaluate_every_epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Smoke, str]:
    """One finished run, and what it printed."""
    smoke = Smoke(tmp_path_factory.mktemp("alarms"))
    ended = smoke.run(*WRONG_TEACHER)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return smoke, ended.stdout


def history(root: Path) -> list[dict[str, float]]:
    """Of the arm."""
    found: list[dict[str, float]] = json.loads((root / "smoke/arms/distilled/history.json").read_text())
    return found


def test_a_filter_that_keeps_under_a_quarter_is_told_everywhere(finished: tuple[Smoke, str]) -> None:
    smoke, printed = finished
    kept = history(smoke.root)[0]["train/proximity.kept_fraction"]
    assert kept < 0.25
    message = f"train/proximity.kept_fraction is {kept:.3f} in epoch 1, under 0.25: the loss sees few of the images"
    evaluation = json.loads((smoke.folder / "evaluations/distilled/evaluation.json").read_text())
    assert evaluation["alarms"] == [{"name": "filter_keeps_little", "epoch": 1, "message": message}]

    client = open_client(f"sqlite:///{smoke.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`orchestrator.run_key` = 'smoke/arm/distilled'")
    assert run.data.tags["alarm.filter_keeps_little"] == f"epoch 1: {message}"
    rows = client.get_metric_history(run.info.run_id, "alarm/filter_keeps_little")
    assert [(row.step, row.value) for row in rows] == [(1, 1.0)]

    assert f"distilled, epoch 1: {message}" in printed
    report = (smoke.folder / "report" / "report.html").read_text()
    assert '<section id="alarms"' in report
    assert f"<strong>distilled</strong>: filter keeps little, epoch 1: {message}" in report
    assert "## Alarms" in (smoke.folder / "report" / "report.md").read_text()


def test_the_coherence_with_the_teacher_is_measured_in_every_evaluation(finished: tuple[Smoke, str]) -> None:
    for row in history(finished[0].root):
        assert 0 <= row["select/m_rel"] <= 1
        assert 0 <= row["select/m_neigh"] <= 1
