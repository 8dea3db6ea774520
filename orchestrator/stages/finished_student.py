"""A finished student with what its run knows of it: found by a path, whatever the path names.

Reads a student's file and, where it lies in a run, the run's manifests, shards and embeddings; writes nothing.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from torch import Tensor

from orchestrator.artifacts.embeddings import HEADER as EMBEDDINGS_HEADER
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import Manifest, read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.config.experiment import Experiment
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.errors import ArtifactError
from orchestrator.students import StudentSettings
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.data import load_split
from orchestrator.training.judge import supply_of
from orchestrator.training.student_file import HEADER, STUDENT, is_written_student, load_class_text, load_student


@dataclass(frozen=True)
class Source:
    """A finished student and what is known of it.

    Attributes:
        file: its weights.
        experiment: its sheet, where the command named it.
    """

    file: Path
    experiment: Experiment | None = None

    @cached_property
    def run(self) -> Manifest | None:
        """The manifest of its training."""
        return read_manifest(self.file.parent)

    @cached_property
    def home(self) -> Path | None:
        """The experiment's folder, with index and shards; None for a file that was taken out of its run."""
        whole = [above for above in self.file.resolve().parents if read_manifest(above / "shards") is not None]
        return whole[0] if whole and (whole[0] / "index" / "classes.parquet").is_file() else None

    @property
    def arm(self) -> str:
        """The arm, or what the file's folder is called."""
        return self.file.resolve().parent.name

    def manifest(self, stage: str) -> Manifest | None:
        """Of another artifact of the experiment."""
        return None if self.home is None else read_manifest(self.home / stage)

    @cached_property
    def header(self) -> dict[str, Any]:
        """What the file says of the network."""
        with safe_open(self.file, framework="pt") as opened:
            found: dict[str, Any] = json.loads(opened.metadata()[HEADER])
        return found

    @cached_property
    def student(self) -> Student:
        """The network in evaluation mode."""
        return load_student(self.file).eval()

    @property
    def settings(self) -> Any:
        """The settings of the student, as its file has them."""
        return TypeAdapter(StudentSettings).validate_python(self.header["student"])

    @property
    def image_size(self) -> int:
        """Side of its images, pixels."""
        return int(self.header["context"]["image_size"])

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """The teachers' rows, where they are still there."""
        folder = None if self.home is None else self.home / "embeddings"
        return Embeddings(folder) if folder is not None and (folder / EMBEDDINGS_HEADER).is_file() else None

    @cached_property
    def class_text(self) -> Tensor | None:
        """[C, D] unit texts of the classes: those learnt with the student, else the image teacher's."""
        if (learnt := load_class_text(self.file)) is not None:
            return learnt
        vectors = None if self.embeddings is None else self.embeddings.vectors("classes")
        return None if vectors is None else torch.from_numpy(np.array(vectors, np.float32))

    @cached_property
    def classes(self) -> tuple[tuple[str, ...], int]:
        """(names by label, how many of them were seen in training)."""
        if self.home is None:
            count = int(self.header["context"]["num_classes"])
            return tuple(f"class {label}" for label in range(count)), count
        table = read_table(self.home / "index" / "classes.parquet")
        return tuple(table["name"].to_pylist()), ClassGroups.of_table(table).num_seen

    def inputs(self, split: str, limit: int) -> tuple[Tensor, "np.ndarray[Any, np.dtype[np.int64]]"] | None:
        """(what the student reads of a split's images, spread over it; labels); None without the run's data."""
        if self.home is None:
            return None
        data = load_split(self.home / "shards", split)
        if not len(data.labels) or (self.student.reads[0] != IMAGE and self.embeddings is None):
            return None
        rows = np.unique(np.linspace(0, len(data.labels) - 1, min(limit, len(data.labels))).round().astype(np.int64))
        supply = supply_of(self.student, data, cast(Embeddings, self.embeddings), split, self.image_size, ())
        found = supply(rows)
        return (found[self.student.reads[0]], data.labels[rows]) if self.student.reads[0] in found else None


def find_source(path: Path, arm: str | None, experiment: Experiment | None = None) -> Source:
    """The student that a path means: its file, an arm's folder, or an experiment's folder (see `best_arm`).

    Raises:
        ArtifactError: there is no finished student.
    """
    if path.is_file():
        if not is_written_student(path):
            raise ArtifactError(f"{path} is no student written here", expected=f"a {STUDENT} of a training")
        return Source(path, experiment)
    if (path / STUDENT).is_file():
        return Source(path / STUDENT, experiment)
    chosen = arm or best_arm(path)
    file = path / "arms" / chosen / STUDENT
    if not file.is_file() or read_manifest(file.parent) is None:
        there = sorted(one.parent.name for one in path.glob(f"arms/*/{STUDENT}"))
        raise ArtifactError(
            f"{path} has no finished student of an arm {chosen}",
            expected=f"one of {', '.join(there)}" if there else "an experiment whose students are trained",
            remedy="train it first: orchestrator train EXPERIMENT.yaml",
        )
    return Source(file, experiment)


def best_arm(folder: Path) -> str:
    """The arm with the best accuracy on the selection split, the first by name among equals."""
    manifests = {one.parent.name: read_manifest(one.parent) for one in sorted(folder.glob(f"arms/*/{STUDENT}"))}
    values = {
        arm: found.metrics.get("select/all", -1.0) for arm, found in manifests.items() if found is not None
    }  # fmt: skip
    if not values:
        raise ArtifactError(
            f"{folder} has no finished student", expected="a folder with arms/ARM, or a student's file",
            remedy="train it first: orchestrator train EXPERIMENT.yaml",
        )  # fmt: skip
    return max(values, key=lambda arm: values[arm])
