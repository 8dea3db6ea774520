"""Stage `evaluate`: a finished student on the report split: All, Many, Medium, Few and each class.

Reads a student and the shards; writes `evaluation.json`. The only stage that reads the report split's labels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import vocabulary
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import write_json
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.training.student_file import STUDENT

EVALUATION = "evaluation.json"


def plan(context: Context, student: Plan, arm: str) -> Plan:
    """An evaluation depends on the student alone: its identity, and its very weights, should it have been made anew."""
    manifest = read_manifest(student.folder)
    assert manifest is not None, "an arm is evaluated after it was trained"
    parents = {"train": student.fingerprint, "weights": manifest.files[STUDENT]}
    folder = context.folder / "evaluations" / arm
    return Plan("evaluate", folder, {"split": vocabulary.SPLIT_REPORT}, parents, is_view=True)


def make(context: Context, parents: Mapping[str, Plan], student: Plan, arm: str) -> Plan:
    """Make or reuse the evaluation of one arm."""
    planned = plan(context, student, arm)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        found, metrics = evaluate_student(student, parents, folder)
        run_key = f"{context.experiment.name}/arm/{arm}"
        context.tracker.log_metrics(run_key, metrics, student.settings["training"]["epochs"])
        return {"images": sum(found["total"])}, metrics

    context.make(planned, build)
    return planned


def evaluate_student(
    student: Plan, parents: Mapping[str, Plan], folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """Count a trained student's right answers on the report split, write them into `folder`, return them and metrics.

    The network is the one the student's own plan names: a sweep's best values may have changed its arm's.
    """
    from orchestrator.evaluation.predict import count_correct, images_of
    from orchestrator.training.data import load_split
    from orchestrator.training.student_file import load_student

    shards = parents["shard"].folder
    train, data = load_split(shards, vocabulary.SPLIT_TRAIN), load_split(shards, vocabulary.SPLIT_REPORT)
    num_classes = index.num_classes(parents["index"])
    counts = np.bincount(train.labels, minlength=num_classes)
    model = load_student(student.folder / STUDENT)
    correct, total = count_correct(model, images_of(data.pixels), data.labels, num_classes)
    accuracies = shot_accuracy(correct, total, counts)
    per_class = {"correct": correct.tolist(), "total": total.tolist(), "train_count": counts.tolist()}
    found = {"metrics": accuracies, **per_class}
    write_json(folder / EVALUATION, found)
    return found, {f"report/{name}": value for name, value in accuracies.items()}
