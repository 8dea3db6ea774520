"""The report's part on spaces: t-SNE of a few classes in the teacher's, students' and texts' spaces, and text spectra.

Reads shards, embeddings and students; writes `spaces.json`, an artifact of its own, so that a report that is written
again draws nothing anew. Trains nothing. Knows nothing of HTML.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from orchestrator import vocabulary as v
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.storage import read_json, read_table, write_json
from orchestrator.evaluation.feature_map import PERPLEXITY, drawn_rows, plane
from orchestrator.evaluation.predict import embed
from orchestrator.evaluation.text_spectrum import text_spectrum
from orchestrator.reporting.sections import Space, SpaceKind, Spaces, Spectrum
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.students.networks.student import IMAGE
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.data import SplitData, load_split, load_teacher
from orchestrator.training.judge import supply_of
from orchestrator.training.student_file import STUDENT, load_student

FILE = "spaces.json"
SEED = 0
NUM_CLASSES, IMAGES_PER_CLASS, LEAST_PER_CLASS = 10, 30, 2
MOST_STUDENTS = 4
MOST_TEXTS = 1000  # of a source, evenly spaced, for its spectrum
MOST_EIGENVALUES = 256
Vectors = npt.NDArray[np.float32]


def make(context: Context, plans: Mapping[str, Plan], arms: Sequence[str]) -> Plan:
    """Make or reuse the planes and spectra of an experiment whose arms are evaluated."""
    shown = list(arms[:MOST_STUDENTS])
    parents = {name: plans[name].identity for name in ("index", "shard", "embed")}
    parents |= {f"evaluate/{arm}": plans[f"evaluate/{arm}"].identity for arm in shown}
    settings = {
        "seed": SEED, "classes": NUM_CLASSES, "images_per_class": IMAGES_PER_CLASS, "perplexity": PERPLEXITY,
        "texts": MOST_TEXTS, "arms": shown, "sources": list(context.experiment.text_sources),
    }  # fmt: skip
    planned = Plan("report", context.folder / "spaces" / "report", settings, parents, is_view=True)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        found = _find(context, plans, shown, len(arms))
        write_json(folder / FILE, asdict(found))
        return {"planes": len(found.planes), "spectra": len(found.spectra)}, {}

    context.make(planned, build)
    return planned


def load(planned: Plan) -> Spaces:
    """What was found."""
    return TypeAdapter(Spaces).validate_python(read_json(planned.folder / FILE))


def _find(context: Context, plans: Mapping[str, Plan], arms: Sequence[str], num_arms: int) -> Spaces:
    embeddings = Embeddings(plans["embed"].folder, context.hot_copies)
    sources = context.experiment.text_sources
    teacher = load_teacher(plans["embed"].folder, sources, context.hot_copies)
    names = read_table(plans["index"].folder / "classes.parquet")["name"].to_pylist()
    split = v.SPLIT_REPORT
    data, trained = load_split(plans["shard"].folder, split), load_split(plans["shard"].folder, v.SPLIT_TRAIN)
    classes = chosen_classes(data.labels, trained.labels, len(names))
    rows = np.array(drawn_rows(data.labels.tolist(), classes, IMAGES_PER_CLASS, SEED), np.int64)
    drawn: list[Space] = []
    notes = [f"Images are of the {split} split, at most {IMAGES_PER_CLASS} of a class; texts are of training images."]
    copy = embeddings.get(f"images/{split}/{EMBEDDING}")
    if copy is not None and len(rows):
        drawn += _space("image teacher", "teacher", split, np.asarray(copy.array[rows]), data.labels[rows], classes)
    left_out = []
    for arm in arms if len(rows) else ():
        made = _student_rows(context, plans, arm, data, embeddings, rows)
        if made is None:
            left_out.append(arm)
        else:
            drawn += _space(arm, "student", split, made, data.labels[rows], classes)
    for number, source in enumerate(sources):
        ids = teacher.text_ids[:, number]
        mine = np.array(drawn_rows(trained.labels.tolist(), classes, IMAGES_PER_CLASS, SEED), np.int64)
        mine = mine[ids[mine] >= 0]
        vectors = np.asarray(teacher.text_vectors[ids[mine]], np.float32)
        drawn += _space(source, "text", v.SPLIT_TRAIN, vectors, trained.labels[mine], classes)
    if left_out:
        notes.append(f"Left out, because they read rows of other embeddings: {', '.join(left_out)}.")
    if num_arms > len(arms):
        notes.append(f"Shown are the first {len(arms)} of {num_arms} students.")
    spectra = [_spectrum("class texts", teacher.class_vectors)]
    spectra += [
        _spectrum(one, _distinct(teacher.text_vectors, teacher.text_ids[:, n])) for n, one in enumerate(sources)
    ]
    return Spaces(
        class_names=tuple(names[label] for label in classes), planes=tuple(drawn),
        spectra=tuple(one for one in spectra if one is not None), seed=SEED, perplexity=PERPLEXITY, notes=tuple(notes),
    )  # fmt: skip


def chosen_classes(shown: npt.NDArray[np.int64], trained: npt.NDArray[np.int64], num_classes: int) -> list[int]:
    """At most ten classes that have images to show, evenly spaced from the most frequent in training to the rarest."""
    enough = np.bincount(shown, minlength=num_classes) >= LEAST_PER_CLASS
    counts = np.bincount(trained, minlength=num_classes)
    order = [label for label in sorted(range(num_classes), key=lambda one: (-counts[one], one)) if enough[label]]
    if not order:
        return []
    return [order[at] for at in np.unique(np.linspace(0, len(order) - 1, NUM_CLASSES).round().astype(int))]


def _space(
    name: str, kind: SpaceKind, split: str, vectors: Vectors, labels: npt.NDArray[np.int64], classes: Sequence[int]
) -> list[Space]:
    """The space on a plane; nothing where there is too little to be parted, or where all its vectors are equal."""
    from sklearn.metrics import silhouette_score

    vectors = np.asarray(vectors, np.float32)
    known = len(set(labels.tolist()))
    if len(vectors) < 4 or not 2 <= known < len(vectors) or np.ptp(vectors, axis=0).max() < 1e-6:
        return []
    points = plane(vectors, seed=SEED)
    silhouette = float(silhouette_score(vectors, labels, metric="cosine"))
    place = {label: number for number, label in enumerate(classes)}
    return [
        Space(
            name, kind, split, tuple((round(float(x), 2), round(float(y), 2)) for x, y in points),
            tuple(place[label] for label in labels.tolist()), silhouette,
        )
    ]  # fmt: skip


def _student_rows(
    context: Context, plans: Mapping[str, Plan], arm: str, data: SplitData, embeddings: Embeddings,
    rows: npt.NDArray[np.int64],
) -> Vectors | None:  # fmt: skip
    """[n, D] the student's embedding (or feature) of some images; None where it reads rows that are not at hand."""
    planned = plans[f"train/{arm}"]
    student = load_student(planned.folder / STUDENT)
    if student.reads != (IMAGE,) and planned.parents["embed"] != plans["embed"].identity:
        return None
    made = student.makes()
    output = v.STUDENT_EMBEDDING if v.STUDENT_EMBEDDING in made else v.STUDENT_FEATURE
    size, sources = planned.settings["image_size"], tuple(planned.settings["text_sources"])
    supply = supply_of(student, data, embeddings, v.SPLIT_REPORT, size, sources)
    return embed(student, lambda part: supply(rows[part]), len(rows), output)


def _distinct(vectors: npt.NDArray[np.generic], ids: npt.NDArray[np.int64]) -> Vectors:
    """The texts that a source has, each once."""
    return np.asarray(vectors[np.unique(ids[ids >= 0])], np.float32)


def _spectrum(name: str, vectors: npt.NDArray[np.generic] | None) -> Spectrum | None:
    """Of at most `MOST_TEXTS` texts; None for fewer than two."""
    if vectors is None or len(vectors) < 2:
        return None
    at = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_TEXTS)).round().astype(int))
    found = text_spectrum(np.array(vectors[at], np.float32))
    return Spectrum(
        name=name,
        num_texts=len(vectors),
        num_dims=int(vectors.shape[1]),
        eigenvalues=tuple(float(f"{value:.4g}") for value in found.eigenvalues[:MOST_EIGENVALUES]),
        effective_rank=found.effective_rank,
        participation_ratio=found.participation_ratio,
        num_large=found.num_large,
        mean_nearest_cosine=found.mean_nearest_cosine,
    )
