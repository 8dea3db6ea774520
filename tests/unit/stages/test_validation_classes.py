"""Validation classes through the line: in no training image, told where the selection split is, not in the report."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.evaluation.predict import embed, images_of
from orchestrator.evaluation.text_spectrum import text_spectrum
from orchestrator.stages import index, line
from orchestrator.stages.context import Context, Plan
from orchestrator.training.data import load_split
from orchestrator.training.student_file import STUDENT, load_student
from tests.smoke_line import SMOKE, quiet_context

Finished = tuple[Context, dict[str, Plan]]
WORLD: dict[str, Any] = {
    "name": "validation",
    "dataset.imbalance_ratio": 1,
    "dataset.ood_split": {"seed": 1, "num_seen": 4, "select_classes": 2},
    "image_teacher_views": 0,
    "sweep": None,
    "student": {"kind": "tiny", "width": 8, "classifier": None, "embedding": {}},
    "losses": {"images": {"kind": "embedding_mse"}},
    "training.epochs": 2,
    "arms": {
        "open": {"evaluation.measures": ["coherence", "text_spectrum"]},
        "closed": {
            "student": {"kind": "tiny", "width": 8},
            "losses": {"labels": {"kind": "logit_adjusted_cross_entropy", "prior_floor": 1e-9}},
            "evaluation.measures": [],
        },
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The line up to the evaluations of both arms."""
    experiment = with_overrides(load_experiment(SMOKE), WORLD, "test")
    context = quiet_context(experiment, tmp_path_factory.mktemp("validation"))
    return context, line.run(context, "evaluate")


def by_hand(rows: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], labels: Any, first: int, last: int) -> Any:
    """(share of right answers, mean of the classes' shares) of the images of classes [first, last)."""
    mine = np.flatnonzero((labels >= first) & (labels < last))
    right = first + (rows[mine] @ texts[first:last].T).argmax(1) == labels[mine]
    return right.mean(), np.mean([right[labels[mine] == label].mean() for label in range(first, last)])


def test_validation_classes_are_in_the_selection_split_alone(finished: Finished) -> None:
    context, plans = finished
    data = index.load(context)
    assert data.class_groups() == index.class_groups(plans["index"].folder) == ClassGroups(2, 2, 6)
    assert data.class_counts("train") == (24, 24, 0, 0, 0, 0)  # of 34 images ceil(0.7 n)
    assert data.class_counts("select") == (10, 10, 34, 34, 0, 0)
    assert data.class_counts("report") == (0, 0, 0, 0, 34, 34)
    assert index.num_judged(plans["index"].folder) == {"select/all": 20, "select/unseen_all": 68}


def test_a_training_tells_accuracy_on_validation_classes_among_their_texts_and_the_teachers_is_told_too(
    finished: Finished,
) -> None:
    _, plans = finished
    made = Embeddings(plans["embed"].folder)
    texts = np.array(made.vectors("classes"), np.float32)
    data = load_split(plans["shard"].folder, "select")
    student = load_student(plans["train/open"].folder / STUDENT)
    rows = embed(student, images_of(data.pixels, 32), len(data.labels), "student_embedding")
    told = read_json(plans["train/open"].folder / "result.json")["metrics"]
    seen, unseen = by_hand(rows, texts, data.labels, 0, 2), by_hand(rows, texts, data.labels, 2, 4)
    assert (told["select/all"], told["select/mean_per_class"]) == pytest.approx(seen)
    assert (told["select/unseen_all"], told["select/unseen_mean_per_class"]) == pytest.approx(unseen)
    history = read_json(plans["train/open"].folder / "history.json")
    assert all("select/unseen_mean_per_class" in row for row in history)
    manifest = read_manifest(plans["embed"].folder)
    assert manifest is not None
    teacher = np.array(made.open("images/select/embedding").array, np.float32)
    for name, (first, last) in {"select/": (0, 2), "select/unseen_": (2, 4)}.items():
        expected = by_hand(teacher, texts, data.labels, first, last)
        assert (manifest.metrics[f"{name}all"], manifest.metrics[f"{name}mean_per_class"]) == pytest.approx(expected)


def test_the_report_is_of_its_own_unseen_classes_and_seen_ones_are_counted_without_validation_classes(
    finished: Finished,
) -> None:
    _, plans = finished
    texts = np.array(Embeddings(plans["embed"].folder).vectors("classes"), np.float32)
    data = load_split(plans["shard"].folder, "report")
    student = load_student(plans["train/open"].folder / STUDENT)
    rows = embed(student, images_of(data.pixels, 32), len(data.labels), "student_embedding")
    found = read_json(plans["evaluate/open"].folder / "evaluation.json")
    metrics, measures = found["metrics"], found["measures"]
    expected = by_hand(rows, texts, data.labels, 4, 6)
    assert (metrics["unseen_all"], metrics["unseen_mean_per_class"]) == pytest.approx(expected)
    assert found["total"] == [0, 0, 0, 0, 34, 34]
    predictions = read_table(plans["evaluate/open"].folder / "predictions.parquet")
    assert set(predictions["predicted"].to_pylist()) <= {4, 5}
    told = read_json(plans["train/open"].folder / "result.json")["metrics"]
    assert metrics["seen_all"] == pytest.approx(told["select/all"])
    images = {split: measures[f"{split}/num_images"] for split in ("select", "report")}
    assert images == {"select": 20, "report": 68}
    of_unseen = text_spectrum(texts[4:]).values()["effective_rank"]
    assert measures["class_text/unseen_effective_rank"] == pytest.approx(of_unseen)


def test_a_classifier_has_no_accuracy_on_validation_classes(finished: Finished) -> None:
    told = read_json(finished[1]["train/closed"].folder / "result.json")["metrics"]
    assert 0 <= told["select/all"] <= 1
    assert [name for name in told if "unseen" in name] == []


def test_a_teacher_is_tuned_and_chosen_on_seen_classes_alone(tmp_path: Path) -> None:
    told = {**WORLD, "name": "tuned", "image_size": 64, "arms": {"closed": WORLD["arms"]["closed"]},
            "teacher_tuning": {"mode": "linear_probe", "epochs": 2},
            "image_teacher": {"kind": "open_clip", "model": "embedded:tiny_clip"}}  # fmt: skip
    context = quiet_context(with_overrides(load_experiment(SMOKE), told, "test"), tmp_path)
    plans = line.run(context, "tune")
    history = read_json(plans["tune"].folder / "history.json")
    of_twenty = [20 * row["select/all"] for row in history]
    assert of_twenty == pytest.approx(np.round(of_twenty))
    assert history[-1]["select/all"] > 0.5
