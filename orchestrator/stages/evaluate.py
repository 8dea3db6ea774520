"""Stage `evaluate`: a finished student on the report split: accuracies, and the measures that the experiment names.

Reads a student, the shards and, for some measures, the embeddings; writes `evaluation.json` and `predictions.parquet`,
and commits the teacher's rows of support images' copies where retrieval is measured. The only stage that reads the
report split's labels.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, write_json, write_table
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.training.alarms import Alarm, alarms
from orchestrator.training.run import HISTORY
from orchestrator.training.student_file import STUDENT, is_student, is_written_student
from orchestrator.training.watch import alarm_tags, plain_alarms

if TYPE_CHECKING:
    from orchestrator.stages.measures import Subject

EVALUATION, PREDICTIONS = "evaluation.json", "predictions.parquet"
PREDICTION_SCHEMA = pa.schema(  # one row for each image of the report split, in the order of its shard
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("predicted", pa.int32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),  # probability of the predicted class
        pa.field("label_probability", pa.float32(), nullable=False),
    ]
)
ACCURACIES = ("all", "mean_per_class", "many", "medium", "few")
SEEN, UNSEEN = "seen", "unseen"  # prefixes of accuracies where some classes are unseen in training
UNSEEN_MEAN = f"{UNSEEN}_mean_per_class"


def plan(context: Context, student: Plan, arm: str) -> Plan:
    """An evaluation depends on the student alone: its identity, and its very weights, should it have been made anew."""
    manifest = read_manifest(student.folder)
    assert manifest is not None, "an arm is evaluated after it was trained"
    weights = {name: digest for name, digest in manifest.files.items() if is_student(name)}
    parents = {"train": student.fingerprint, **{f"weights/{name}": digest for name, digest in weights.items()}}
    folder = context.folder / "evaluations" / arm
    evaluation = arm_experiment(context.experiment, arm).evaluation
    settings = {
        "split": vocabulary.SPLIT_REPORT,
        "files": [EVALUATION, PREDICTIONS],
        "evaluation": evaluation.model_dump(mode="json"),
        "alarms": context.experiment.watch.alarms.model_dump(mode="json"),
    }
    return Plan("evaluate", folder, settings, parents, is_view=True)


def make(context: Context, parents: Mapping[str, Plan], student: Plan, arm: str) -> Plan:
    """Make or reuse the evaluation of one arm."""
    planned = plan(context, student, arm)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment = arm_experiment(context.experiment, arm)
        found, metrics = evaluate_student(context, experiment, student, parents, folder)
        run_key = f"{context.experiment.name}/arm/{arm}"
        context.tracker.log_metrics(run_key, metrics, student.settings["training"]["epochs"])
        raised = [Alarm(**alarm) for alarm in found["alarms"]]
        context.tracker.set_tags(run_key, alarm_tags(raised))
        for alarm in raised:
            context.feedback.event("alarm", f"{arm}, epoch {alarm.epoch}: {alarm.message}")
        return {"images": found["images"]}, metrics

    context.make(planned, build)
    return planned


def evaluate_student(
    context: Context, experiment: Experiment, student: Plan, parents: Mapping[str, Plan], folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """Count a trained student's right answers on the report split, write them into `folder`, return them and metrics.

    Where students of several last epochs are kept, accuracies are the mean over them (methods 1.11), and the counts by
    class and all measures are the last one's. With unseen classes, `all` and `mean_per_class` are those of unseen
    classes chosen among unseen classes, and `seen_...` those of the selection split among the seen ones. Alarms are
    those of the training, and of its history together with the unseen classes' accuracy after the kept epochs.

    Args:
        experiment: of the arm, whose measures are taken.
    """
    from orchestrator.stages.measures import Subject, measure
    from orchestrator.stages.support_copies import support_copies
    from orchestrator.training.student_file import load_class_text, load_student

    files = sorted(path for path in student.folder.iterdir() if is_student(path.name))
    files = [*(path for path in files if path.name != STUDENT), student.folder / STUDENT]
    settings, copies = experiment.evaluation, None
    if "few_shot_retrieval" in settings.measures and settings.few_shot_copies:
        copies = support_copies(context, settings.few_shot_copies, folder)
    subjects = [
        Subject(
            student=load_student(path),
            shards=parents["shard"].folder,
            embeddings=Embeddings(parents["embed"].folder, context.hot_copies),
            image_size=student.settings["image_size"],
            groups=index.class_groups(parents["index"].folder),
            text_sources=tuple(student.settings["text_sources"]),
            settings=settings,
            learnt_class_text=load_class_text(path),
            start=_start_of(student),
            support_copies=copies,
        )
        for path in files
    ]
    counted = [accuracies_of(subject) for subject in subjects]
    accuracies = _means([metrics for metrics, _, _ in counted])
    measures = measure(subjects[-1])
    found = {
        "metrics": accuracies,
        **counted[-1][1],
        "images": len(subjects[-1].data(vocabulary.SPLIT_REPORT).labels),
        "epochs_averaged": len(counted),
        "measures": measures,
        "alarms": plain_alarms(alarms_of(experiment, student, [metrics for metrics, _, _ in counted])),
    }
    if (predictions := counted[-1][2]) is not None:
        write_table(folder / PREDICTIONS, predictions)
    write_json(folder / EVALUATION, found)
    return found, {**{f"report/{name}": value for name, value in accuracies.items()}, **measures}


def _start_of(student: Plan) -> Path | None:
    """The student that this one began as, where that is one of ours."""
    checkpoint = student.settings["student"].get("checkpoint")
    return Path(checkpoint) if checkpoint is not None and is_written_student(Path(checkpoint)) else None


def accuracies_of(subject: "Subject") -> tuple[dict[str, float], dict[str, list[int]], pa.Table | None]:
    """(accuracies, counts by class, predictions) of one student; no accuracies of one that cannot classify."""
    from torch import from_numpy

    from orchestrator.evaluation.predict import can_classify, count_correct_within, predict_labels

    groups, num_classes = subject.groups, subject.groups.num_classes
    trained = np.bincount(subject.data(vocabulary.SPLIT_TRAIN).labels, minlength=num_classes)
    text = None if subject.class_text is None else from_numpy(subject.class_text.copy())
    nothing = [0] * num_classes
    counts = {"correct": nothing, "total": nothing, "train_count": trained.tolist()}
    if not can_classify(subject.student, text):
        return {}, counts, None
    data = subject.data(vocabulary.SPLIT_REPORT)
    told = predict_labels(
        subject.student, subject.supply(vocabulary.SPLIT_REPORT), data.labels, num_classes,
        class_text=text, label_range=subject.label_set(vocabulary.SPLIT_REPORT),
    )  # fmt: skip
    columns = [pa.array(data.image_ids, pa.string()), data.labels, *vars(told).values()]
    table = pa.table(dict(zip(PREDICTION_SCHEMA.names, columns, strict=True)), schema=PREDICTION_SCHEMA)
    total = np.bincount(data.labels, minlength=num_classes)
    correct = np.bincount(data.labels[told.predicted == data.labels], minlength=num_classes)
    metrics = shot_accuracy(correct, total, trained)
    if groups.unseen:
        split = vocabulary.SPLIT_SELECT
        counted = count_correct_within(
            groups.seen, subject.student, subject.supply(split), subject.data(split).labels, num_classes, text
        )
        of_seen = shot_accuracy(*counted, trained)
        kept = ("all", "mean_per_class")
        metrics = {name: metrics[name] for name in kept}
        metrics |= {f"{UNSEEN}_{name}": metrics[name] for name in kept} | {
            f"{SEEN}_{name}": of_seen[name] for name in kept
        }
    counts |= {"correct": correct.tolist(), "total": total.tolist()}
    return metrics, counts, table


def alarms_of(experiment: Experiment, student: Plan, kept: Sequence[Mapping[str, float]]) -> list[Alarm]:
    """The alarms of a training; `kept` are the accuracies of the students of its last epochs, in order."""
    history: list[dict[str, float]] = read_json(student.folder / HISTORY)
    for row, accuracies in zip(history[-len(kept) :], kept, strict=True):
        if UNSEEN_MEAN in accuracies:
            row["ood/mean_per_class"] = accuracies[UNSEEN_MEAN]
    return alarms(history, experiment.watch.alarms)


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(one[name] for one in each) for name in each[-1]}
