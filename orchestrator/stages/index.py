"""Stage `index`: from a data set's files to one row per image, addressed by bytes and hashed; bad images quarantined.

Reads images; writes `images.parquet`, `classes.parquet`, `quarantine.parquet`, `notes.json`. Knows nothing of teachers.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc

from orchestrator.artifacts.manifest import Status
from orchestrator.artifacts.storage import read_json, read_table, write_json, write_table
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.datasets.index import DatasetIndex
from orchestrator.errors import DataError
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.vocabulary import SPLIT_SELECT, SPLITS, UNSEEN_SELECTED_ALL

MOST_NAMED = 3  # bad images in a line
TABLES = ("images", "classes", "quarantine")  # of a DatasetIndex
NOTES = "notes.json"  # what the user should know of the index; told by every command that makes or reuses it
REVISION = "index-revision.json"  # beside the index: what a --rehash found under an unchanged stamp


def plan(context: Context) -> Plan:
    """The index depends on the data set's settings and on a cheap stamp of its files (names, sizes, times).

    Where a --rehash has found other bytes under the same stamp, it also depends on what was found.
    """
    dataset = context.experiment.dataset
    settings = {"dataset": dataset.model_dump(mode="json"), "stamp": dataset.stamp()}
    path = context.folder / REVISION
    revision = read_json(path) if path.is_file() else {}
    if revision.get("stamp") == settings["stamp"]:
        settings["revision"] = revision["images"]
    return Plan("index", context.folder / "index", settings, {}, is_view=True)


def make(context: Context) -> Plan:
    """Make or reuse the index."""
    planned = plan(context)
    if context.rehash and planned.status() is Status.REUSE:
        planned = _rehash(context, planned)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        context.feedback.event("index", f"reading and checking the images of {context.experiment.dataset.kind}")
        index = context.experiment.dataset.index(folder)
        if not index.images.num_rows:
            raise DataError(f"no usable image among {index.quarantine.num_rows}", expected="at least one image")
        for name in TABLES:
            write_table(folder / f"{name}.parquet", getattr(index, name))
        write_json(folder / NOTES, list(index.notes))
        splits = index.images["split"].to_pylist()
        counts = {split: splits.count(split) for split in SPLITS}
        return {**counts, "classes": index.classes.num_rows, "quarantined": index.quarantine.num_rows}, {}

    context.make(planned, build)
    _tell_of_bad_ones(context, planned.folder)
    for note in read_json(planned.folder / NOTES):
        context.feedback.event("index", f"note: {note}")
    return planned


def _tell_of_bad_ones(context: Context, folder: Path) -> None:
    names = read_table(folder / "quarantine.parquet", columns=["image_id"])["image_id"].to_pylist()
    if names:
        shown = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
        where = f"orchestrator show {context.execution.storage_root}/{folder.relative_to(context.root)}"
        context.feedback.event("index", f"cannot be read and are left out: {shown} ({where} has the reasons)")


def _rehash(context: Context, planned: Plan) -> Plan:
    """Read and hash every image again; with other bytes under the same names, sizes and times, all is made anew."""
    old = read_table(planned.folder / "images.parquet", columns=["image_id", "content_hash"])
    with tempfile.TemporaryDirectory() as folder:
        new = context.experiment.dataset.index(Path(folder)).images.select(["image_id", "content_hash"])
    if new.equals(old):
        context.feedback.event("index", f"hashed {new.num_rows:,} images again: all as they were")
        return planned
    before = dict(zip(old["image_id"].to_pylist(), old["content_hash"].to_pylist(), strict=True))
    pairs = zip(new["image_id"].to_pylist(), new["content_hash"].to_pylist(), strict=True)
    changed = sum(before.get(image_id) != content for image_id, content in pairs)
    context.feedback.event(
        "index", f"hashed {new.num_rows:,} images again: {changed:,} have changed under the same stamp"
    )
    write_json(context.folder / REVISION, {"stamp": planned.settings["stamp"], "images": digest_table(new)})
    return plan(context)


def class_groups(folder: Path) -> ClassGroups:
    """The classes of a finished index, those without an image included: seen, for validation, the report's."""
    return ClassGroups.of_table(read_table(folder / "classes.parquet"))


def num_judged(folder: Path) -> dict[str, int]:
    """How many images of a finished index a trial's accuracies are over, by the accuracy's name."""
    groups, images = class_groups(folder), read_table(folder / "images.parquet", columns=["split", "label"])
    labels = images.filter(pc.equal(images["split"], SPLIT_SELECT))["label"].to_pylist()
    among = {"select/all": groups.seen, UNSEEN_SELECTED_ALL: groups.validation}
    return {name: sum(label in group for label in labels) for name, group in among.items()}


def load(context: Context) -> DatasetIndex:
    """The finished index."""
    folder = plan(context).folder
    return DatasetIndex(*(read_table(folder / f"{name}.parquet") for name in TABLES))
