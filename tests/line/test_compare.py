"""`orchestrator compare` on trained arms and cells: its numbers are theirs, what cannot be compared is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.artifacts.storage import read_json, read_table, write_json, write_table
from orchestrator.cli import app
from orchestrator.config.load import arm_experiment, load_experiment, with_overrides
from orchestrator.errors import ArtifactError
from orchestrator.reporting.sweep_comparison import sweep_words
from orchestrator.stages import evidence, line
from orchestrator.stages.compare import collect
from orchestrator.stages.compare_command import run_compare
from orchestrator.stages.compare_sweeps import collect_sweeps
from orchestrator.stages.compared_sides import find_sides
from tests.smoke_line import SMOKE, quiet_context

FEWER = {"sweep": None, "image_teacher_views": 0, "training.epochs": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke experiment's arms, evaluated, and cells of both on two seeds."""
    folder = tmp_path_factory.mktemp("compare")
    context = quiet_context(with_overrides(load_experiment(SMOKE), FEWER, "test"), folder)
    plans = line.run(context, "evaluate")
    evidence.make(context, plans, ["baseline", "distilled"], [0, 1], lambda cell: None)
    return folder


def _sweep(folder: Path, name: str, epochs: int, objective: str = "select/all") -> None:
    space = {
        "name": name, "question": "?", "expected": "!", "cost": "seconds", "fixed": {"training.epochs": epochs},
        "parameters": {"adaptor.depth": {"kind": "grid", "values": [0, 1]}}, "objectives": {objective: "max"},
        "searcher": {"kind": "grid"}, "scheduler": {"kind": "none"},
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(space))
    changed = with_overrides(
        load_experiment(SMOKE), {**FEWER, "sweep": {"space": str(path), "arm": "distilled"}}, "test"
    )
    line.run(quiet_context(changed, folder), "sweep")


def test_two_sweeps_are_paired_on_the_configurations_that_both_tried_and_their_best_sheet_runs(root: Path) -> None:
    for name, epochs in (("one", 1), ("again", 1), ("longer", 2)):
        _sweep(root, name, epochs)
    same = collect_sweeps(find_sides(["smoke/one", "smoke/again"], root))
    assert same.paired[0] is not None
    assert (same.paired[0].mean, same.paired[0].half_width, same.paired[0].num_pairs) == (0, 0, 2)  # bit for bit
    assert "not distinguishable" in sweep_words(same)[1]
    ended = CliRunner().invoke(app, ["compare", "smoke/one", "smoke/longer", "--root", str(root), "--json"])
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert "fixed other settings" in told["warnings"][0]
    assert ["1", "2"] in [row["values"] for row in told["settings"] if row["path"].endswith("training.epochs")]
    trials = read_json(root / "smoke" / "sweeps" / "longer" / "trials.json")["trials"]
    best = max(trial["metrics"]["select/all"] for trial in trials)
    assert told["sides"][1]["best"]["select/all"] == best == told["sides"][1]["best_so_far"][-1][1]
    sheet = load_experiment(root / "smoke" / "sweeps" / "longer" / "best.yaml")
    assert arm_experiment(sheet, "distilled").adaptor.depth in (0, 1)
    assert (sheet.name, sheet.sweep) == ("smoke-longer-best", None)
    with pytest.raises(ArtifactError, match="a sweep and a student"):
        run_compare(["smoke/one", "smoke/baseline"], root, None, 0.95)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(root / "smoke", tmp_path / "smoke")
    shutil.copytree(root / "smoke", tmp_path / "other")
    return tmp_path


def test_the_kept_predictions_are_those_that_the_evaluation_counted(root: Path) -> None:
    for folder in (root / "smoke" / "evaluations" / "distilled", root / "smoke" / "cells" / "baseline" / "seed-1"):
        rows, found = read_table(folder / "predictions.parquet"), read_json(folder / "evaluation.json")
        labels, predicted = rows["label"].to_numpy(), rows["predicted"].to_numpy()
        assert np.bincount(labels[labels == predicted], minlength=6).tolist() == found["correct"]
        assert np.bincount(labels, minlength=6).tolist() == found["total"]
        confidence, own = rows["confidence"].to_numpy(), rows["label_probability"].to_numpy()
        assert np.all((own == confidence) == (labels == predicted))
        assert np.all((own > 0) & (own <= confidence) & (confidence <= 1))


def test_two_arms_are_told_in_numbers_that_are_those_of_their_evaluations(root: Path) -> None:
    page = root / "page.html"
    ended = CliRunner().invoke(
        app, ["compare", "smoke/baseline", "smoke/distilled", "--root", str(root), "--output", str(page), "--json"]
    )
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    metrics = [read_json(root / "smoke" / "evaluations" / arm / "evaluation.json")["metrics"]["all"]
               for arm in ("baseline", "distilled")]  # fmt: skip
    difference = told["differences"][0]
    assert [side["arm"]["metrics"]["all"] for side in told["sides"]] == pytest.approx([100 * one for one in metrics])
    assert difference["over_images"]["all"]["value"] == pytest.approx(100 * (metrics[1] - metrics[0]))
    assert difference["only_this"] - difference["only_reference"] == round(36 * (metrics[1] - metrics[0]))
    assert [row["path"] for row in told["settings"]] == ["losses.image", "losses.text"]
    assert "not distinguishable" in told["words"][0]  # of 36 images nothing follows
    assert told["warnings"] == []
    text = page.read_text()
    assert "smoke/distilled" in text
    assert "http" not in text.split('<script type="application/json"')[0].replace("http-equiv", "")


def test_cells_are_paired_by_seed_and_a_run_key_names_them(root: Path) -> None:
    found = collect(find_sides(["smoke/cells/baseline", "smoke/cells/distilled"], root))
    values = {
        arm: [100 * read_json(root / "smoke" / "cells" / arm / f"seed-{seed}" / "evaluation.json")["metrics"]["all"]
              for seed in (0, 1)]
        for arm in ("baseline", "distilled")
    }  # fmt: skip
    differences = np.subtract(values["distilled"], values["baseline"])
    over_seeds = found.differences[0].over_seeds["all"]
    assert (over_seeds.mean, over_seeds.num_pairs) == (pytest.approx(differences.mean()), 2)
    assert found.differences[0].over_images["all"].value == pytest.approx(differences.mean())
    key = find_sides(["smoke/arm/baseline/seed-1"], root)[0]
    assert (key.name, key.members[0].seed) == ("smoke/baseline/seed-1", 1)
    assert [side.name for side in find_sides(["smoke"], root)] == ["smoke/baseline", "smoke/distilled"]


def _relabel(folder: Path) -> None:
    path = folder / "evaluations" / "baseline" / "predictions.parquet"
    rows = read_table(path)
    write_table(
        path, rows.set_column(1, rows.schema.field(1), pa.array([5, *rows["label"].to_pylist()[1:]], pa.int32()))
    )


def _drop_an_image(folder: Path) -> None:
    path = folder / "evaluations" / "baseline" / "predictions.parquet"
    write_table(path, read_table(path).slice(1))


def _rename_a_class(folder: Path) -> None:
    path = folder / "index" / "classes.parquet"
    rows = read_table(path)
    write_table(path, rows.set_column(1, rows.schema.field(1), [["cat", *rows["name"].to_pylist()[1:]]]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_relabel, "1 have another label"),
        (_drop_an_image, "1 images are only in one"),
        (_rename_a_class, "other classes"),
    ],
)
def test_other_data_is_refused_with_the_reason(copy: Path, change: Callable[[Path], None], why: str) -> None:
    change(copy / "other")
    with pytest.raises(ArtifactError, match=why):
        collect(find_sides(["smoke/baseline", "other/baseline"], copy))


def test_without_predictions_or_with_other_counts_there_is_a_warning(copy: Path) -> None:
    folder = copy / "other" / "evaluations" / "baseline"
    (folder / "predictions.parquet").unlink()
    changed = read_json(folder / "evaluation.json")
    write_json(folder / "evaluation.json", {**changed, "train_count": [25, *changed["train_count"][1:]]})
    found = collect(find_sides(["smoke/baseline", "other/baseline"], copy))
    told = " ".join(found.warnings)
    assert "No predictions were kept of other/baseline" in told
    assert "other numbers of images" in told
    assert "the same training" in told
    assert found.differences[0].verdict("all") == ""


def test_an_unknown_name_is_answered_with_near_ones(root: Path) -> None:
    with pytest.raises(ArtifactError, match="smoke/distilled"):
        find_sides(["smoke/distiled"], root)
    with pytest.raises(ArtifactError, match="two or more"):
        collect(find_sides(["smoke/baseline"], root))
