"""Every measure is taken of students that can give it, through the stage, and refused of those that cannot."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator import vocabulary as v
from orchestrator.artifacts.embeddings import Embeddings, text_rows_name
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.errors import ConfigError
from orchestrator.evaluation.probes import neighbour_accuracy
from orchestrator.evaluation.retrieval import in_batch_accuracy, recall
from orchestrator.evaluation.settings import Measure
from orchestrator.stages import line
from orchestrator.stages.context import Context, Plan
from orchestrator.training.data import load_split
from orchestrator.training.student_file import STUDENT, load_student
from orchestrator.training.views import scale_pixels
from tests.smoke_line import SMOKE, quiet_context
from tests.tiny_datasets import coco_captions

MATCHING = {"kind": "similarity_matching"}
ONE_TEXT = ["truth"]
OF_ROWS: list[Measure] = ["size", "retrieval", "self_match", "neighbours", "linear_probe", "text_spectrum"]
WORLD: dict[str, Any] = {
    "name": "measures",
    "caption_splits": ["train", "report"],
    "image_teacher_views": 0,
    "text_sources": ONE_TEXT,
    "sweep": None,
    "losses": {"matching": MATCHING},
    "student": {"kind": "bottleneck", "embedding_dim": 8},
    "training.epochs": 2,
    "training.batch_size": 32,
    "evaluation.batch_size": 8,
    "evaluation.latency_batch_sizes": [2],
}
ARMS: dict[str, dict[str, Any]] = {
    "two_tower": {"evaluation.measures": [*OF_ROWS, "calibration"]},
    "all_texts": {
        "student": {"kind": "projection", "texts": "all"},
        "losses": {"reinforced": {"kind": "mobileclip_dr"}},
        "text_sources": ["truth", "targeted"],
        "evaluation.measures": ["retrieval"],
    },
    "vision_only": {
        "student": {"kind": "bottleneck", "text_side": False, "embedding_dim": 16},
        "losses": {"matching": {**MATCHING, "pairs": "image_image"}},
        "text_sources": [],
        "evaluation.measures": ["self_match", "neighbours", "linear_probe", "coherence"],
    },
    "image": {
        "student": {"kind": "tiny", "width": 8, "embedding": {}},
        "losses": {"labels": {"kind": "logit_adjusted_cross_entropy"}, "image": {"kind": "embedding_mse"}},
        "evaluation.measures": [
            "coherence", "text_spectrum", "neighbours", "linear_probe", "retrieval", "self_match", "calibration",
            "robustness", "post_hoc", "size", "latency",
        ],
        "evaluation.test_prior": [1, 0, 0, 0, 0, 0],
    },
    "image_tower": {
        "student": {"kind": "resnet_embedding", "embedding": {"dim": 8}},
        "losses": {"contrastive": {"kind": "clip_contrastive"}},
        "training.epochs": 1,
        "evaluation.measures": ["retrieval", "neighbours", "calibration", "size", "latency"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, dict[str, Plan]]:
    """The line up to the evaluations of all arms."""
    experiment = with_overrides(load_experiment(SMOKE), {**WORLD, "arms": ARMS}, "test")
    context = quiet_context(experiment, tmp_path_factory.mktemp("measures"))
    return context, line.run(context, "evaluate")


def measured(finished: tuple[Context, dict[str, Plan]], arm: str) -> dict[str, float]:
    found: dict[str, float] = read_json(finished[1][f"evaluate/{arm}"].folder / "evaluation.json")["measures"]
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_an_arms_measures_are_taken_and_no_number_is_missing(
    arm: str, finished: tuple[Context, dict[str, Plan]]
) -> None:
    found = measured(finished, arm)
    text = json.dumps(found)
    words = {"size": "model_size_mb", "neighbours": "knn_acc@20", "linear_probe": "linear_probe_acc",
             "retrieval": "recall@5", "self_match": "self_match_acc", "calibration": "report/ece",
             "post_hoc": "report/adjusted_all", "robustness": "mean_corruption_acc",
             "latency": "latency_ms_b2_t1", "coherence": "m_neigh",
             "text_spectrum": "class_text/effective_rank"}  # fmt: skip
    assert all((word in text) == (measure in ARMS[arm]["evaluation.measures"]) for measure, word in words.items())
    assert [name for name, value in found.items() if not math.isfinite(value)] == []


def test_the_numbers_of_a_two_tower_student_are_those_of_its_pairs_of_the_report_split(
    finished: tuple[Context, dict[str, Plan]],
) -> None:
    _, plans = finished
    student = load_student(plans["train/two_tower"].folder / STUDENT).eval()
    made = Embeddings(plans["embed"].folder)
    texts = made.vectors("texts")
    assert texts is not None
    splits = {split: load_split(plans["shard"].folder, split) for split in (v.SPLIT_TRAIN, v.SPLIT_REPORT)}
    images = {split: torch.from_numpy(np.array(made.open(f"images/{split}/embedding").array)) for split in splits}
    rows = read_table(plans["embed"].folder / text_rows_name(v.SPLIT_REPORT))["truth"].to_numpy()
    assert len(rows) == len(images[v.SPLIT_REPORT]) == 36
    with torch.no_grad():
        shown = student(images[v.SPLIT_REPORT], torch.from_numpy(texts[rows][:, None].copy()))
        bank = student(images[v.SPLIT_TRAIN])[v.STUDENT_EMBEDDING]
    image, text = shown[v.STUDENT_EMBEDDING], shown[v.STUDENT_TEXT]
    expected = in_batch_accuracy(image, text, 8) | recall(image, text)
    expected |= neighbour_accuracy(bank, splits[v.SPLIT_TRAIN].labels, image, splits[v.SPLIT_REPORT].labels)
    found = measured(finished, "two_tower")
    assert {name: found[f"report/{name}"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert found["num_parameters"] == sum(parameter.numel() for parameter in student.parameters())


def test_a_student_that_cannot_classify_has_no_accuracy_and_one_that_can_is_counted_once_for_each_image(
    finished: tuple[Context, dict[str, Plan]],
) -> None:
    of_rows = read_json(finished[1]["evaluate/vision_only"].folder / "evaluation.json")
    assert (of_rows["metrics"], of_rows["images"], sum(of_rows["total"])) == ({}, 36, 0)
    of_images = read_json(finished[1]["evaluate/image"].folder / "evaluation.json")
    assert (of_images["images"], sum(of_images["total"])) == (36, 36)
    assert of_images["measures"]["report/clean_acc"] == of_images["metrics"]["all"]


def test_corrections_at_test_time_are_those_of_the_students_own_logits_and_weights(
    finished: tuple[Context, dict[str, Plan]],
) -> None:
    _, plans = finished
    student = load_student(plans["train/image"].folder / STUDENT).eval()
    train, report = (load_split(plans["shard"].folder, split) for split in (v.SPLIT_TRAIN, v.SPLIT_REPORT))
    with torch.no_grad():
        made = student(scale_pixels(np.array(report.pixels)))
    count = torch.bincount(torch.from_numpy(train.labels), minlength=6)
    labels = torch.from_numpy(report.labels)
    found = measured(finished, "image")
    adjusted = made[v.STUDENT_LOGITS] - torch.log(count / count.sum())
    assert found["report/adjusted_all"] == float((adjusted.argmax(1) == labels).double().mean())
    weight = student.get_parameter("classifier.weight")
    normal = weight / weight.norm(dim=1, keepdim=True) ** found["report/tau_normalised_tau"]
    logits = made[v.STUDENT_FEATURE] @ normal.T
    assert found["report/tau_normalised_all"] == float((logits.argmax(1) == labels).double().mean())
    assert found["report/shifted_mean_per_class"] == 1 / 6  # a prior of one class: that class is all that is said


# What cannot be taken, and what the error says: which setting supplies it.
IMAGE: dict[str, Any] = {"text_sources": ["truth"], "caption_splits": ["train", "report"], "image_teacher_views": 0,
                         "student": {"kind": "tiny", "width": 8, "embedding": {}}}  # fmt: skip
ROWS: dict[str, Any] = {**IMAGE, "student": {"kind": "bottleneck"}, "losses": {"matching": MATCHING}}
OTHER_TEACHER = {"kind": "timm", "model": "vit_base_patch16_224.dino"}
REFUSED: list[tuple[Measure, dict[str, Any], str]] = [
    ("retrieval", {**ROWS, "caption_splits": ["train"]}, r"caption_splits: \[train, report\]"),
    ("retrieval", {**IMAGE, "text_sources": [], "losses.text": None}, "name one in text_sources"),
    ("retrieval", {**IMAGE, "student": {"kind": "tiny"}}, "set student.embedding"),
    ("neighbours", {**ROWS, "image_teacher_views": 2, "text_encoder.dim": 8}, "image_teacher_views: 0"),
    ("linear_probe", {**ROWS, "image_teacher_views": 2, "text_encoder.dim": 8}, "image_teacher_views: 0"),
    ("linear_probe", {**IMAGE, "dataset.ood_split": {}}, "dataset.ood_split.shots"),
    ("coherence", {**IMAGE, "student": {"kind": "tiny"}}, "set student.embedding"),
    ("coherence", ROWS, "student.text_side: false"),
    ("coherence", {**IMAGE, "image_teacher": OTHER_TEACHER}, "set an image_teacher that encodes texts too"),
    ("text_spectrum", {**IMAGE, "image_teacher": None}, "set an image_teacher that encodes texts too"),
    ("few_shot_retrieval", IMAGE, "set dataset.ood_split with shots"),
    ("calibration", {**ROWS, "student.text_side": False}, "set student.classifier"),
    ("calibration", {**ROWS, "image_teacher": OTHER_TEACHER}, "set student.classifier, or an image_teacher"),
    ("post_hoc", ROWS, "set student.classifier"),
    ("post_hoc", {**IMAGE, "dataset.ood_split": {}}, "dataset.ood_split.shots"),
    ("robustness", ROWS, "set another student.kind"),
    ("latency", ROWS, "set another student.kind"),
]


@pytest.mark.parametrize(
    ("measure", "overrides", "remedy"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_measure_that_cannot_be_taken_is_refused_when_the_sheet_is_read(
    measure: Measure, overrides: dict[str, Any], remedy: str
) -> None:
    base = load_experiment(SMOKE, ["sweep=null"])
    with_overrides(base, overrides, "test")
    with pytest.raises(ConfigError, match=f"evaluation.measures: {measure} needs .*{remedy}.*or leave it out"):
        with_overrides(base, {**overrides, "evaluation.measures": [measure]}, "test")


@pytest.mark.parametrize(
    ("overrides", "told", "stage"),
    [
        ({"evaluation.measures": ["linear_probe"], "dataset": "coco"}, "dataset.select_fraction", "captions"),
        ({"evaluation.measures": ["neighbours"], "dataset": "coco", "dataset.instances": None},
         "needs classes, and the data set has 1; set dataset.instances", "captions"),
        ({"evaluation.measures": ["retrieval"], "student": {"kind": "tiny", "embedding": {"dim": 8}}},
         "as wide as the texts' 16 numbers, and it has 8", "arms"),
        ({"evaluation.measures": ["coherence"], "student": {"kind": "tiny", "embedding": {"dim": 8}}},
         "as wide as the image teacher's 16 numbers, and it has 8", "arms"),
        ({"evaluation.measures": ["calibration"], "student": {"kind": "bottleneck"}, "text_encoder.dim": 8,
          "losses": {"contrastive": {"kind": "clip_contrastive"}}},
         "that it can compare with its embedding", "arms"),
    ],
    ids=["no_select", "no_classes", "retrieval_width", "coherence_width", "class_text_width"],
)  # fmt: skip
def test_what_only_the_data_and_the_rows_tell_is_refused_before_anything_is_trained(
    overrides: dict[str, Any], told: str, stage: str, tmp_path: Path
) -> None:
    labels = {"labels": {"kind": "binary_cross_entropy"}}
    changed = {**WORLD, "student": {"kind": "tiny"}, "losses": labels, **overrides}
    if "dataset" in overrides:
        changed |= {"dataset": coco_captions(tmp_path / "coco"), "texts": {}, "text_sources": []}
        changed |= {"prompts": ["general"]}  # which names no class
    context = quiet_context(with_overrides(load_experiment(SMOKE), changed, "test"), tmp_path)
    with pytest.raises(ConfigError, match=told):
        line.run(context, "report")
    assert not (context.folder / stage).exists()
    with pytest.raises(ConfigError, match=told):
        line.forecast(context, "report")
