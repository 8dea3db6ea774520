"""Stage `index`: from a data set's files to one row per image, addressed by bytes and hashed; bad images quarantined.

Reads images; writes `images.parquet`, `classes.parquet`, `quarantine.parquet`. Knows nothing of teachers.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from orchestrator.artifacts.storage import read_table, write_table
from orchestrator.datasets.index import DatasetIndex
from orchestrator.errors import DataError
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.vocabulary import SPLITS

TABLES = tuple(field.name for field in dataclasses.fields(DatasetIndex))


def plan(context: Context) -> Plan:
    """The index depends on the data set's settings and on a cheap stamp of its files (names, sizes, times)."""
    dataset = context.experiment.dataset
    settings = {"dataset": dataset.model_dump(mode="json"), "stamp": dataset.stamp()}
    return Plan("index", context.folder / "index", settings, {}, is_view=True)


def make(context: Context) -> Plan:
    """Make or reuse the index."""
    planned = plan(context)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        context.feedback.event("index", f"reading and checking the images of {context.experiment.dataset.kind}")
        index = context.experiment.dataset.index(folder)
        if not index.images.num_rows:
            raise DataError(f"no usable image among {index.quarantine.num_rows}", expected="at least one image")
        for name in TABLES:
            write_table(folder / f"{name}.parquet", getattr(index, name))
        splits = index.images["split"].to_pylist()
        counts = {split: splits.count(split) for split in SPLITS}
        return {**counts, "classes": index.classes.num_rows, "quarantined": index.quarantine.num_rows}, {}

    context.make(planned, build)
    return planned


def num_classes(planned: Plan) -> int:
    """Classes of a finished index, those without an image included."""
    return read_table(planned.folder / "classes.parquet", columns=["label"]).num_rows


def load(context: Context) -> DatasetIndex:
    """The finished index."""
    folder = plan(context).folder
    return DatasetIndex(*(read_table(folder / f"{name}.parquet") for name in TABLES))
