"""`orchestrator evaluate EXPORT`: an exported student on the report split of its run, beside what the run measured.

Reads an export, the shards of a run and, where the student reads a teacher's rows, the embeddings; writes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.settings import EvaluationSettings
from orchestrator.exporting.bundle import ExportConfig, read_config
from orchestrator.exporting.network import ExportedStudent
from orchestrator.reporting.comparison import as_json
from orchestrator.stages.evaluate import EVALUATION, accuracies_of
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.index import class_groups
from orchestrator.stages.measures import Subject


@dataclass(frozen=True)
class Evaluated:
    """What an export reaches.

    Attributes:
        home: the experiment's folder with the data.
        num_images: of the report split.
        metrics: its accuracies; not a number where there is no such class.
        arm, of_run: the arm that it was made of and that one's own accuracies; "" and None: not evaluated there.
    """

    home: Path
    num_images: int
    metrics: Mapping[str, float]
    arm: str = ""
    of_run: Mapping[str, float] | None = None

    def lines(self) -> list[str]:
        """For a terminal."""
        told = [f"{name:16} {value:.6g}" for name, value in self.metrics.items() if not math.isnan(value)]
        if self.of_run is None:
            return [*told, "its arm has no evaluation here to compare with"]
        apart = [f"{name} {value:.6g}" for name, value in self.of_run.items() if str(value) != str(self.metrics[name])]
        same = f"the run's own evaluation of {self.arm}"
        return [*told, f"equal to {same}" if not apart else f"DIFFERENT from {same}: {', '.join(apart)}"]


def evaluate_export_command(export: Path, *, quiet: bool) -> dict[str, Any]:
    """Evaluate, and tell it; returns what `--json` tells."""
    feedback = Feedback(quiet=quiet)
    found = evaluate_export(export)
    feedback.event("evaluate", f"{export} on {found.num_images} images of the report split of {found.home}")
    for line in found.lines():
        feedback.console.print(line, markup=False)
    return {"export": str(export), "metrics": as_json(found.metrics)}


def evaluate_export(export: Path) -> Evaluated:
    """Count an exported student's right answers on the report split of the run in whose folder it lies.

    Raises:
        ArtifactError: the folder is no export, lies in no run, cannot classify, or the run's data are others.
    """
    config = read_config(export)
    home = _home_of(export)
    student = ExportedStudent(export, config).eval()
    problems = _differences(config, home)
    if config.output == "embedding":
        problems.append("it has neither a classifier nor class texts")
    if problems:
        raise ArtifactError(f"{export} cannot be evaluated on {home}: {'; '.join(problems)}")
    subject = Subject(
        student=student, shards=home / "shards", embeddings=Embeddings(home / "embeddings"),
        image_size=config.preprocessing.image_size, groups=class_groups(home / "index"),
        text_sources=(), settings=EvaluationSettings(), learnt_class_text=student.class_text,
    )  # fmt: skip
    metrics, _, _ = accuracies_of(subject)
    num_images = len(subject.data(vocabulary.SPLIT_REPORT).labels)
    return Evaluated(home, num_images, metrics, *_of_run(config, home))


def _home_of(export: Path) -> Path:
    for above in export.resolve().parents:
        if read_manifest(above / "shards") is not None and (above / "index" / "classes.parquet").is_file():
            return above
    raise ArtifactError(
        f"{export} lies in no run, so there is no report split",
        expected="a folder below an experiment's, as runs/NAME/exports/ARM",
        remedy="copy it there",
    )


def _differences(config: ExportConfig, home: Path) -> list[str]:
    """In what the run's data are not those of the export."""
    manifest = read_manifest(home / "shards")
    assert manifest is not None
    wanted = config.preprocessing
    told = {"frame_size": (wanted.frame_size, manifest.settings.get("image_size")),
            "framing": (wanted.framing, manifest.settings.get("framing"))}  # fmt: skip
    found = [f"its {name} is {own}, the run's {other}" for name, (own, other) in told.items() if own != other]
    names = tuple(read_table(home / "index" / "classes.parquet", columns=["name"])["name"].to_pylist())
    return found if names == config.classes else [*found, "its classes are not the run's"]


def _of_run(config: ExportConfig, home: Path) -> tuple[str, dict[str, float] | None]:
    for evaluation in sorted(home.glob(f"evaluations/*/{EVALUATION}")):
        arm = evaluation.parent.name
        trained = read_manifest(home / "arms" / arm)
        if trained is not None and trained.fingerprint == config.fingerprint:
            metrics: dict[str, Any] = read_json(evaluation)["metrics"]
            return arm, metrics
    return "", None
