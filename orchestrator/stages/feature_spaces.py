"""Which space tells classes apart: the image teacher's, that of captions, that of class names (VLM-KD's feature plots).

Reads shards and embeddings; writes `evaluation.json` with a number for each space, and `planes.json` with the
coordinates of its t-SNE. Trains nothing and knows nothing of students.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator import vocabulary
from orchestrator.artifacts.storage import read_table, write_json
from orchestrator.config.experiment import Experiment
from orchestrator.evaluation.feature_map import IMAGES_PER_CLASS, PLOTTED_CLASSES, drawn_rows, plane
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.evaluate import EVALUATION
from orchestrator.training.data import load_split, load_teacher

IMAGE_SPACE = "image_teacher"
NUM_CLASSES = len(PLOTTED_CLASSES)


def make(context: Context, plans: Mapping[str, Plan], seed: int) -> Plan:
    """Make or reuse the numbers of one draw of images.

    Args:
        seed: of the draw and of the t-SNE.
    """
    parents = {name: plans[name].identity for name in ("index", "shard", "embed")}
    settings = {"seed": seed, "classes": list(PLOTTED_CLASSES), "images_per_class": IMAGES_PER_CLASS}
    planned = Plan("evaluate", context.folder / "spaces" / f"seed-{seed}", settings, parents, is_view=True)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        from sklearn.metrics import silhouette_score

        labels = load_split(plans["shard"].folder, vocabulary.SPLIT_TRAIN).labels
        names = read_table(plans["index"].folder / "classes.parquet")["name"].to_pylist()
        rows = np.array(drawn_rows(labels.tolist(), chosen_classes(names, labels), seed=seed))
        metrics: dict[str, float] = {}
        planes: dict[str, list[list[float]]] = {}
        for space, vectors in _spaces(context.experiment, plans["embed"].folder, rows).items():
            metrics[f"{space}/silhouette"] = float(silhouette_score(vectors, labels[rows], metric="cosine"))
            planes[space] = plane(vectors, seed=seed).tolist()
        write_json(folder / EVALUATION, {"metrics": metrics})
        write_json(folder / "planes.json", {"labels": labels[rows].tolist(), "planes": planes})
        return {"images": len(rows)}, metrics

    context.make(planned, build)
    return planned


def chosen_classes(names: list[str], labels: npt.NDArray[np.int64]) -> list[int]:
    """The ten classes that the paper plots, where the data set has them; else ten from frequent to rare.

    Those of fewer images than are drawn are left out.
    """
    enough = np.bincount(labels, minlength=len(names)) >= IMAGES_PER_CLASS
    plotted = [names.index(name) for name in PLOTTED_CLASSES if name in names and enough[names.index(name)]]
    if len(plotted) == NUM_CLASSES:
        return plotted
    there = np.flatnonzero(enough)
    return there[np.linspace(0, len(there) - 1, min(NUM_CLASSES, len(there))).round().astype(int)].tolist()


def _spaces(
    experiment: Experiment, embeddings: Path, rows: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.float32]]:
    """Space -> vectors [n, D] of these training images; the image teacher's are of view 0, where it saw views."""
    sources = tuple(experiment.texts)
    teacher = load_teacher(embeddings, sources)
    found = {}
    if teacher.image_vectors is not None:
        found[IMAGE_SPACE] = np.asarray(teacher.image_vectors[rows], np.float32)
    for number, source in enumerate(sources):
        ids = teacher.text_ids[rows, number]
        if (ids >= 0).all():
            found[source] = np.asarray(teacher.text_vectors[ids], np.float32)
    return found
