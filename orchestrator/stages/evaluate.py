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
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.training.run import STUDENT

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
        experiment = arm_experiment(context.experiment, arm)
        found = evaluate_student(experiment, student.folder, parents["shard"].folder, vocabulary.SPLIT_REPORT)
        write_json(folder / EVALUATION, found)
        metrics = {f"report/{name}": value for name, value in found["metrics"].items()}
        context.tracker.log_metrics(f"{context.experiment.name}/arm/{arm}", metrics, experiment.training.epochs)
        return {"images": sum(found["total"])}, metrics

    context.make(planned, build)
    return planned


def evaluate_student(experiment: Experiment, folder: Path, shards: Path, split: str) -> dict[str, Any]:
    """Metrics (fractions) and per-class counts of the student in `folder` on one split."""
    from safetensors.torch import load_file

    from orchestrator.evaluation.predict import count_correct
    from orchestrator.training.data import load_split

    train, data = load_split(shards, vocabulary.SPLIT_TRAIN), load_split(shards, split)
    tensors = load_file(folder / STUDENT)
    num_classes = int(max(train.labels.max(), data.labels.max())) + 1
    model = experiment.student.build(num_classes)
    model.load_state_dict(tensors)
    counts = np.bincount(train.labels, minlength=num_classes)
    correct, total = count_correct(model, data.pixels, data.labels, num_classes)
    return {
        "metrics": shot_accuracy(correct, total, counts),
        "correct": correct.tolist(),
        "total": total.tolist(),
        "train_count": counts.tolist(),
    }
