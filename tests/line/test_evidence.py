"""Evidence on paired seeds: it resumes cell by cell and refuses what cannot be compared."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.artifacts.storage import read_json
from orchestrator.cli import app
from orchestrator.config.load import load_experiment
from orchestrator.stages.evidence import controls
from tests.smoke_line import PROJECT


def orchestrator(command: str, root: Path, *extra: str) -> Result:
    """The command on the smoke experiment, untracked, in this process."""
    sheets = ["jobs/experiments/smoke.yaml", "--execution", "jobs/executions/in_process.yaml"]
    settings = ["--set", f"storage_root={root}", "--set", "tracking.kind=none"]
    return CliRunner().invoke(app, [command, *sheets, *settings, *extra])


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def test_more_seeds_train_only_the_new_cells_and_rebuild_trains_all(tmp_path: Path) -> None:
    first = orchestrator("evidence", tmp_path, "--seeds", "3")
    assert first.exit_code == 0, first.stdout + first.stderr
    manifest = tmp_path / "smoke" / "cells" / "baseline" / "seed-3" / "manifest.json"
    made = manifest.stat().st_mtime_ns
    more = orchestrator("evidence", tmp_path, "--seeds", "3,4", "--set", "trials.trials_per_worker=2")
    assert "4 cells, 2 of them reused" in more.stdout
    assert manifest.stat().st_mtime_ns == made
    rows = json.loads((tmp_path / "smoke" / "evidence.json").read_text())
    assert {(row["arm"], row["seed"]) for row in rows} == {(a, s) for a in ("baseline", "distilled") for s in (3, 4)}

    for seed in (3, 4):  # a seed has its own views, so its own rows of the image teacher
        views = read_json(tmp_path / "smoke" / f"embeddings-seed-{seed}" / "embeddings.json")["views"]
        assert (views["data_seed"], views["num_views"]) == (seed, 2)

    changed = orchestrator("evidence", tmp_path, "--seeds", "3", "training.epochs=2")
    assert changed.exit_code == 2
    assert "settings.training.epochs: 3 -> 2" in changed.stderr
    again = orchestrator("evidence", tmp_path, "--seeds", "3", "training.epochs=2", "--rebuild", "train")
    assert again.exit_code == 0, again.stdout + again.stderr
    assert manifest.stat().st_mtime_ns > made


def test_a_seed_named_twice_or_an_unknown_arm_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    refused = orchestrator("evidence", tmp_path, "--seeds", "0,0", "--arms", "baseline,nope")
    assert refused.exit_code == 2
    assert "unknown arm nope, seed 0 twice" in refused.stderr
    assert not (tmp_path / "smoke").exists()


def test_an_arms_controls_are_those_that_differ_only_in_the_texts_they_read() -> None:
    experiment = load_experiment(PROJECT / "jobs" / "experiments" / "evidence.yaml")
    pairs = controls(experiment, list(experiment.arms))
    others = ("permuted", "permuted_within_class", "class_name", "oracle", "random")
    assert pairs == [("kd_t", other) for other in others]


def test_a_student_whose_width_a_sweep_chose_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    width, space = 12, tmp_path / "width.yaml"
    space.write_text(
        "{name: width, question: which width, expected: any, cost: seconds, budget: {num_trials: 1},"
        " scheduler: {kind: none},"
        f" searcher: {{kind: random}}, parameters: {{student.width: {{kind: choice, values: [{width}]}}}}}}"
    )
    ended = orchestrator("evaluate", tmp_path / "runs", f"sweep.space={space}")
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    begun = json.loads((tmp_path / "runs" / "smoke" / "arms" / "distilled" / "begun.json").read_text())
    assert begun["settings"]["student"]["width"] == width
