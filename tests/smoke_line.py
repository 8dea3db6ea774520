"""The smoke experiment prepared in process up to what training reads: the shipped way, without a command line.

Runs index, caption, embed and shard once for each folder of tests. Knows nothing of single tests.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.artifacts.embeddings import HEADER
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.execution import ActorPoolSettings, Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.train import make_job
from orchestrator.tracking import NullTracker, TrackingSettings
from orchestrator.training.data import load_split, load_teacher
from orchestrator.training.loop import Trainer
from orchestrator.training.run import TrainingJob, build_model

PROJECT = Path(__file__).resolve().parent.parent
SMOKE = PROJECT / "jobs" / "experiments" / "smoke.yaml"


def quiet_context(experiment: Experiment, root: Path, max_error_fraction: float = 0.05) -> Context:
    """A context in process, without tracking and without output."""
    execution = Execution(
        name="test", engine="in_process", storage_root=str(root), tracking=TrackingSettings(kind="none"),
        captioning=ActorPoolSettings(max_error_fraction=max_error_fraction),
    )  # fmt: skip
    return Context(experiment, execution, NullTracker(), Feedback(quiet=True), InProcessExecutor)


@dataclass(frozen=True)
class SmokeLine:
    """The finished artifacts that training reads, and jobs over them."""

    context: Context
    plans: Mapping[str, Plan]

    def job(self, folder: Path, overrides: Mapping[str, Any] | None = None) -> TrainingJob:
        """A training job of the smoke experiment with overrides, writing into `folder`."""
        experiment = with_overrides(self.context.experiment, overrides or {}, "test")
        return make_job(self.context, experiment, self.plans, folder, f"smoke/test/{folder.name}")


def make_smoke_line(root: Path, num_views: int = 0, overrides: Mapping[str, Any] | None = None) -> SmokeLine:
    """Index, captions, embeddings and shards of the smoke experiment below `root`.

    Args:
        num_views: that the image teacher sees; 0, so that jobs may draw with other seeds and view settings.
    """
    changed = {"image_teacher_views": num_views, **(overrides or {})}
    context = quiet_context(with_overrides(load_experiment(SMOKE), changed, "test"), root)
    return SmokeLine(context, line.run(context, "shard"))


def drop_arrays(embeddings: Path, *prefixes: str) -> None:
    """Take arrays out of an `embeddings` artifact, as an experiment without them would have it."""
    header = read_json(embeddings / HEADER)
    kept = {name: array for name, array in header["arrays"].items() if not name.startswith(prefixes)}
    write_json(embeddings / HEADER, {**header, "arrays": kept})


def trainer_of(job: TrainingJob, bad_row: int | None = None) -> Trainer:
    """The trainer of a job in this process.

    Args:
        bad_row: of the image whose vector of the image teacher is not a number, as a damaged file would have it.
    """
    images, teacher = load_split(Path(job.shards), "train"), load_teacher(Path(job.embeddings), job.text_sources)
    if bad_row is not None:
        assert teacher.image_vectors is not None
        vectors = np.array(teacher.image_vectors)
        vectors[bad_row, 0] = np.nan
        teacher = dataclasses.replace(teacher, image_vectors=vectors)
    counts = tuple(np.bincount(images.labels, minlength=job.num_classes).tolist())
    model = build_model(job, counts, teacher.dims)
    return Trainer(model, job.training, images, teacher, device=torch.device("cpu"))
