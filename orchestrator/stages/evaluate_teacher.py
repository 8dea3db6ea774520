"""Stage `evaluate` of a tuned image teacher: on the report split, by the logits of its own classifier.

Reads the index and the embeddings; writes `evaluation.json`. Knows nothing of students.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.storage import read_table, write_json
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.stages import index, tune
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.evaluate import EVALUATION
from orchestrator.teachers.encoder import LOGITS

FOLDER = "teacher_evaluation"
CHUNK = 4096  # images counted at a time


def make(context: Context, plans: Mapping[str, Plan]) -> Plan:
    """Make or reuse the evaluation."""
    parents = {name: plans[name].identity for name in ("index", "embed")}
    planned = Plan("evaluate", context.folder / FOLDER, {"split": vocabulary.SPLIT_REPORT}, parents, is_view=True)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        num_classes = index.class_groups(plans["index"].folder).num_classes
        images = read_table(plans["index"].folder / "images.parquet", columns=["split", "label"])
        splits, labels = np.array(images["split"].to_pylist(), dtype=object), images["label"].to_numpy()
        truth = labels[splits == vocabulary.SPLIT_REPORT]
        counts = np.bincount(labels[splits == vocabulary.SPLIT_TRAIN], minlength=num_classes)
        embeddings = Embeddings(plans["embed"].folder, context.hot_copies)
        logits = embeddings.open(f"images/{vocabulary.SPLIT_REPORT}/{LOGITS}").array
        correct = np.zeros(num_classes, np.int64)
        for start in range(0, len(truth), CHUNK):
            part = slice(start, start + CHUNK)
            predicted = np.asarray(logits[part]).argmax(1)
            correct += np.bincount(truth[part][predicted == truth[part]], minlength=num_classes)
        total = np.bincount(truth, minlength=num_classes)
        accuracies = shot_accuracy(correct, total, counts)
        per_class = {"correct": correct.tolist(), "total": total.tolist(), "train_count": counts.tolist()}
        write_json(folder / EVALUATION, {"metrics": accuracies, **per_class})
        tuning = context.experiment.teacher_tuning
        assert tuning is not None
        metrics = {f"report/{name}": value for name, value in accuracies.items()}
        context.tracker.log_metrics(tune.run_key(context), metrics, tuning.epochs)
        return {"images": int(total.sum())}, metrics

    context.make(planned, build)
    return planned
