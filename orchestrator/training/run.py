"""One student's training from its artifacts: what every driver (in process, torchrun, Ray Train, a Tune trial) calls.

Reads the `shards` and `embeddings` artifacts; writes checkpoints, the student and its history into the run's folder and
its metrics into the spool. Knows nothing of Ray.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator import distributed, errors
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.errors import OrchestratorError
from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.tracking.spool import SpoolTracker
from orchestrator.tracking.tracker import NullTracker, Tracker
from orchestrator.training.assembly import assemble
from orchestrator.training.batches import MakeBatches
from orchestrator.training.checkpoint import Checkpoints
from orchestrator.training.checkpoint_settings import CheckpointSettings
from orchestrator.training.course import HISTORY as HISTORY  # what a run's folder holds is told here, beside its job
from orchestrator.training.course import PROGRESS as PROGRESS
from orchestrator.training.course import RESULT as RESULT
from orchestrator.training.course import Course
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.live_teacher import LiveTeaching
from orchestrator.training.live_texts import LiveTexts
from orchestrator.training.loaders import batches_of
from orchestrator.training.loop import Progress
from orchestrator.training.notice import Notice, settled, undisturbed
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.watch_settings import WatchSettings

ERROR = "error.json"


class InFolder(Protocol):
    """A job that tells its progress in a folder."""

    @property
    def folder(self) -> str:
        """Where checkpoints and results go."""


class TrainingJob(Frozen):
    """Everything a worker needs to train one student; plain data, so any driver can send it anywhere.

    Attributes:
        run_key: identity of the run in tracking.
        folder: where checkpoints and the student go (shared storage when there are many nodes).
        shards, embeddings: the artifacts' folders; `parents` are their fingerprints.
        hot_copies: the node's folder for memory-mapped copies of teacher rows; None = beside the artifact.
        num_classes, num_seen_classes, num_validation_classes: of the data set (see `ClassGroups`; None: all are seen).
        image_size: side of the student's views, pixels.
        text_sources: names of the text sources the text loss reads, in order (Q of them).
        live_texts: what is learnt of texts.
        watch: what is measured on the way and when it is an alarm; determines nothing.
        loading, checkpointing: how batches come to it, and when and where its state is kept; they change no result.
        costs: what the student costs at inference that is told with its metrics (see `Costs`); determines nothing.
        live_teacher: an image teacher that looks in the training step; None: its kept rows are read.
    """

    run_key: str
    folder: str
    shards: str
    embeddings: str
    hot_copies: str | None = None
    parents: dict[str, str]
    num_classes: int
    num_seen_classes: int | None = None
    num_validation_classes: int = 0
    image_size: int
    text_sources: tuple[str, ...]
    student: StudentSettings
    adaptor: AdaptorSettings
    losses: dict[str, LossSettings]
    training: TrainingSettings
    live_texts: LiveTexts = LiveTexts()
    watch: WatchSettings = WatchSettings()
    spool: str | None = None
    loading: InputSettings = InputSettings()
    checkpointing: CheckpointSettings = CheckpointSettings()
    live_teacher: LiveTeaching | None = None
    costs: tuple[str, ...] = ()

    @property
    def class_groups(self) -> ClassGroups:
        """Which classes are seen, which are for validation, which are the report's."""
        return ClassGroups(self.num_seen_classes or self.num_classes, self.num_validation_classes, self.num_classes)

    def settings(self) -> dict[str, Any]:
        """What determines the student, as plain JSON."""
        told = (self.student, self.adaptor, self.losses, self.training, self.text_sources, self.image_size)
        live = self.live_teacher.settings() if self.live_teacher is not None else {}
        return {**train_settings(*told), **self.live_texts.settings(), **live}

    def content(self) -> dict[str, Any]:
        """Settings and parents: what two runs are compared by."""
        return {"settings": self.settings(), "parents": self.parents}

    def identity(self) -> str:
        """Fingerprint of settings and parents."""
        return fingerprint(self.content())

    def open_checkpoints(self, start: Path | None = None) -> Checkpoints:
        """The checkpoints of this run, which may go on from those of the shorter trainings that it extends.

        Args:
            start: a checkpoint of another run that this one begins with, so that its own are told from others.
        """
        if start is not None:
            content, folder = {**self.content(), "start": str(start)}, str(Path(self.folder) / "checkpoints")
            return Checkpoints(folder, content, settings=self.checkpointing)
        shorter = [self.model_copy(update={"training": one}).content() for one in self.training.shorter()]
        folder = checkpoint_folder(self.checkpointing, Path(self.folder), self.run_key)
        return Checkpoints(folder, self.content(), earlier=shorter, settings=self.checkpointing)

    def tracker(self) -> Tracker:
        """Where metrics go."""
        return SpoolTracker(Path(self.spool)) if self.spool else NullTracker()


def checkpoint_folder(settings: CheckpointSettings, folder: Path, run_key: str) -> str:
    """Where the checkpoints of a run lie: in its own folder, or below `settings.root`."""
    if settings.root is None:
        return str(folder / "checkpoints")
    return Folder(settings.root).child(run_key).uri


def train_settings(
    student: StudentSettings,
    adaptor: AdaptorSettings,
    losses: Mapping[str, LossSettings],
    training: TrainingSettings,
    text_sources: Sequence[str],
    image_size: int,
) -> dict[str, Any]:
    """The settings that determine a student, as plain JSON."""
    return {
        "student": student.model_dump(mode="json"),
        "adaptor": adaptor.model_dump(mode="json"),
        "losses": {name: loss.model_dump(mode="json") for name, loss in losses.items()},
        "training": training.model_dump(mode="json"),
        "text_sources": list(text_sources),
        "image_size": image_size,
    }


def train(
    job: TrainingJob,
    *,
    parallel: bool = False,
    notice: Notice = undisturbed,
    make_batches: MakeBatches = batches_of,
    settle: Callable[[], None] = settled,
) -> Iterator[Progress]:
    """Train to the end, resuming from the newest checkpoint; yields after each epoch.

    Resumed after its last epoch it yields that epoch again: a driver killed in between has not heard of it.

    Args:
        job: what to train.
        parallel: this process is one of several in a torch process group: wrap the model in DDP.
        notice: asked after each step whether the process will soon be taken away.
        make_batches: makes the batches ahead of the steps.
        settle: see `Course`.

    Raises:
        Stopped: the notice said so; the state is in a checkpoint.
    """
    with Course(assemble(job, parallel=parallel), job.open_checkpoints(), notice, settle) as course:
        if (told := course.resume()) is not None:
            yield told
        for progress in course.trainer.epochs(course.saving, make_batches):
            yield course.after_epoch(progress)
            course.saving.stop_if_told()
        course.finish()
    distributed.barrier()


def read_progress(job: InFolder) -> dict[str, Any]:
    """What a running training last told: epoch, num_epochs and its metrics; empty before the first epoch ends."""
    path = Path(job.folder) / PROGRESS
    progress: dict[str, Any] = read_json(path) if path.is_file() else {}
    return progress


def write_error(job: TrainingJob, error: OrchestratorError) -> None:
    """Keep an error of the user's for whoever waits for the training elsewhere."""
    told = {"kind": type(error).__name__, "wrong": error.wrong, "expected": error.expected, "remedy": error.remedy}
    write_json(Path(job.folder) / ERROR, told)


def read_error(job: TrainingJob) -> OrchestratorError | None:
    """The error that ended this training, or None."""
    path = Path(job.folder) / ERROR
    if not path.is_file():
        return None
    told = read_json(path)
    kind: type[OrchestratorError] = getattr(errors, told.pop("kind"), OrchestratorError)
    return kind(told["wrong"], expected=told["expected"], remedy=told["remedy"])


def forget_error(job: TrainingJob) -> None:
    """Before the training is tried again."""
    (Path(job.folder) / ERROR).unlink(missing_ok=True)


def read_result(folder: Path) -> dict[str, Any]:
    """The metrics that a finished training wrote."""
    result: dict[str, Any] = read_json(folder / RESULT)
    return result
