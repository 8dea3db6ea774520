"""One student's training from its artifacts: what every driver (in process, torchrun, Ray Train, a Tune trial) calls.

Reads the `shards` and `embeddings` artifacts; writes checkpoints, the student and its history into the run's folder and
its metrics into the spool. Knows nothing of Ray.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from orchestrator import distributed, vocabulary
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import Objective
from orchestrator.students import StudentSettings
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.tracking.spool import SpoolTracker
from orchestrator.tracking.tracker import NullTracker, Tracker
from orchestrator.training.checkpoint import Checkpoints
from orchestrator.training.data import TeacherData, load_split, load_teacher
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.judge import Judge, supply_of
from orchestrator.training.live_texts import LiveTexts, attach, learnt_class_text
from orchestrator.training.loaders import start_fork_server
from orchestrator.training.loop import Progress, Trainer
from orchestrator.training.model import DistillationModel, check_inputs
from orchestrator.training.order import Place
from orchestrator.training.parallel import check_workers, device_of_worker, join, prepare
from orchestrator.training.parameters import freeze
from orchestrator.training.precision import set_gpu_products
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.student_file import STUDENT, context_of, save_student, student_name
from orchestrator.training.view_settings import TeacherViews

IMAGE_TEACHER_INPUTS = frozenset(
    {vocabulary.TEACHER_IMAGE, vocabulary.TEACHER_LOGITS, vocabulary.TEACHER_FEATURE, vocabulary.TEACHER_MAP}
)
TEACHER_INPUTS = IMAGE_TEACHER_INPUTS | vocabulary.OF_RUN | {vocabulary.TEXT, vocabulary.TEXT_ID}
HISTORY, RESULT, PROGRESS = "history.json", "result.json", "progress.json"


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
        num_classes, num_seen_classes: of the data set; unseen classes come after the seen ones (None: all are seen).
        image_size: side of the student's views, pixels.
        text_sources: names of the text sources the text loss reads, in order (Q of them).
        live_texts: what is learnt of texts.
        loading: how batches come to it; changes no result.
    """

    run_key: str
    folder: str
    shards: str
    embeddings: str
    hot_copies: str | None = None
    parents: dict[str, str]
    num_classes: int
    num_seen_classes: int | None = None
    image_size: int
    text_sources: tuple[str, ...]
    student: StudentSettings
    adaptor: AdaptorSettings
    losses: dict[str, LossSettings]
    training: TrainingSettings
    live_texts: LiveTexts = LiveTexts()
    spool: str | None = None
    loading: InputSettings = InputSettings()

    def settings(self) -> dict[str, Any]:
        """What determines the student, as plain JSON."""
        told = (self.student, self.adaptor, self.losses, self.training, self.text_sources, self.image_size)
        return {**train_settings(*told), **self.live_texts.settings()}

    def identity(self) -> str:
        """Fingerprint of settings and parents."""
        return fingerprint({"settings": self.settings(), "parents": self.parents})

    def tracker(self) -> Tracker:
        """Where metrics go."""
        return SpoolTracker(Path(self.spool)) if self.spool else NullTracker()


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


def build_model(
    job: TrainingJob,
    class_count: tuple[int, ...],
    dims: Mapping[str, int],
    *,
    num_images: int = 0,
    num_domains: int = 0,
) -> DistillationModel:
    """The model of a job with weights drawn from its `init_seed`.

    Args:
        dims: widths of the teacher's outputs by the contexts' attributes (`TeacherData.dims`).
    """
    torch.manual_seed(job.training.init_seed)
    sizes = {"num_classes": job.num_classes, "num_texts": len(job.text_sources), **dims}
    student = job.student.build(context_of(job, dims), job.adaptor)
    adaptor: nn.Module | None = None
    if getattr(student, "adaptor", None) is None and student.feature_dim and dims["text_dim"]:
        adaptor = job.adaptor.build(student.feature_dim, dims["text_dim"], max(1, len(job.text_sources)))
    context = LossContext(
        class_count=class_count,
        feature_dim=student.feature_dim,
        map_dim=student.map_dim,
        embedding_dim=student.embedding_dim,
        num_images=num_images,
        batch_size=job.training.micro_batch_size,
        num_views=1 + len(job.training.more_views),
        num_domains=num_domains,
        **sizes,
    )
    objective = Objective.build(job.losses, context, job.training.loss_schedules)
    model = DistillationModel(student, adaptor, objective)
    freeze(model, job.training.freeze)
    return model.to(memory_format=torch.channels_last)


def train(job: TrainingJob, *, parallel: bool = False) -> Iterator[Progress]:
    """Train to the end, resuming from the newest checkpoint; yields after each epoch.

    Resumed after its last epoch it yields that epoch again: a driver killed in between has not heard of it.

    Args:
        job: what to train.
        parallel: this process is one of several in a torch process group: wrap the model in DDP.
    """
    check_workers(job.training, distributed.world_size())
    torch.set_num_threads(job.training.num_threads)
    start_fork_server(job.loading)
    set_gpu_products(job.training)
    device = device_of_worker()
    folder, shards = Path(job.folder), Path(job.shards)
    images, select = load_split(shards, vocabulary.SPLIT_TRAIN), load_split(shards, vocabulary.SPLIT_SELECT)
    counts = np.bincount(images.labels, minlength=job.num_classes)
    hot_copies = Path(job.hot_copies) if job.hot_copies else None
    teacher = load_teacher(Path(job.embeddings), job.text_sources, hot_copies, job.num_classes)
    dims = teacher.dims  # of all that there is, whatever part of it the losses read
    num_domains = 0 if teacher.domain_vectors is None else teacher.domain_vectors.shape[1]
    dims = teacher.dims
    model = build_model(
        job, tuple(int(n) for n in counts), dims, num_images=len(images.labels), num_domains=num_domains
    )
    attach(
        model, job.live_texts, embeddings=Path(job.embeddings), num_trained=int(images.labels.max()) + 1,
        seed=job.training.init_seed,
    )  # fmt: skip
    objective = model.objective
    reads = objective.required_inputs() | objective.optional_inputs() | set(model.student.reads)
    _start_from_class_texts(model, teacher, job.num_classes)
    model = prepare(model, job.training, device)
    num_seen = job.num_seen_classes or job.num_classes
    class_text: Any = teacher.constants(num_seen).get(vocabulary.CLASS_TEXT)
    if (learnt := learnt_class_text(model)) is not None:
        class_text = lambda: learnt()[:num_seen]  # noqa: E731
    teacher = teacher.only(reads)
    if not reads & IMAGE_TEACHER_INPUTS:
        teacher = teacher.texts_only()
    elif teacher.views is not None:
        _check_views(job, teacher.views)
    trainer = Trainer(
        model, job.training, images, teacher if reads & TEACHER_INPUTS else None, device=device,
        parallel=join(model, device) if parallel else None, image_size=job.image_size, num_classes=job.num_classes,
        num_seen_classes=job.num_seen_classes, loading=job.loading,
    )  # fmt: skip
    supplied = set(trainer.make_batch(np.arange(min(2, len(images.labels))), Place(0, 0)))
    check_inputs(model, supplied, with_views=bool(job.training.more_views))
    embeddings = Embeddings(Path(job.embeddings), hot_copies)
    supply = supply_of(model.student, select, embeddings, vocabulary.SPLIT_SELECT, job.image_size, job.text_sources)
    judge = Judge(trainer.student, supply, select.labels, counts, class_text)

    checkpoints = Checkpoints(folder / "checkpoints", job.identity())
    history: list[dict[str, float]] = []
    if (state := checkpoints.latest()) is not None:
        trainer.load_state(state)
        history = state["history"]
    tracker = job.tracker() if distributed.rank() == 0 else NullTracker()
    leader = distributed.rank() == 0
    if history and trainer.step_index >= trainer.num_steps:
        told = {name: value for name, value in history[-1].items() if name != "epoch"}
        yield Progress(job.training.epochs, job.training.epochs, trainer.step_index, told)
    for progress in trainer.epochs():
        metrics = dict(progress.metrics)
        last = progress.epoch == progress.num_epochs
        if last or progress.epoch % job.training.evaluate_every_epochs == 0:
            metrics |= judge()
        history.append({"epoch": float(progress.epoch), **metrics})
        tracker.log_metrics(job.run_key, metrics, progress.epoch)
        left = progress.num_epochs - progress.epoch
        if leader and 0 < left < job.training.keep_last_epochs:
            save_student(trainer.student, job, folder / student_name(progress.epoch), dims, learnt and learnt())
        if leader and (last or progress.epoch % job.training.checkpoint_every_epochs == 0):
            checkpoints.save(progress.step, {**trainer.state(), "history": history})
        if leader:
            write_json(folder / PROGRESS, {"epoch": progress.epoch, "num_epochs": progress.num_epochs, **metrics})
        yield Progress(progress.epoch, progress.num_epochs, progress.step, metrics)
    result = judge()
    if leader:
        save_student(trainer.student, job, folder / STUDENT, dims, learnt and learnt())
        write_json(folder / HISTORY, history)
        write_json(folder / RESULT, {"metrics": result, "epochs": job.training.epochs})
        tracker.log_metrics(job.run_key, result, job.training.epochs)
    distributed.barrier()


def _start_from_class_texts(model: DistillationModel, teacher: TeacherData, num_classes: int) -> None:
    """Give the classifier its start values, where they are to be the class texts."""
    if getattr(model.student, "classifier_start", "random") != "class_texts":
        return
    class_text = teacher.constants(num_classes).get(vocabulary.CLASS_TEXT)
    if class_text is None:
        raise ConfigError(
            "student.classifier.start is class_texts, and there are none",
            remedy="set an image teacher that encodes texts too, or start: random",
        )
    model.student.start_from_class_texts(class_text)


def _check_views(job: TrainingJob, kept: TeacherViews) -> None:
    """The teacher's rows must be of the views that this training draws.

    Raises:
        ConfigError: other view settings, data seed or image size than those that the rows were made with.
    """
    told = {"views": job.training.views, "data_seed": job.training.data_seed, "image_size": job.image_size}
    other = [
        f"{name} {value!r}, kept {getattr(kept, name)!r}"
        for name, value in told.items()
        if value != getattr(kept, name)
    ]
    if other:
        raise ConfigError(
            f"the image teacher's rows are of other views than this training draws: {'; '.join(other)}",
            expected="training.views, training.data_seed and image_size as in the experiment that the rows are of",
            remedy="set them for the whole experiment, not in an arm or a sweep, or image_teacher_views: 0",
        )


def read_progress(job: InFolder) -> dict[str, Any]:
    """What a running training last told: epoch, num_epochs and its metrics; empty before the first epoch ends."""
    path = Path(job.folder) / PROGRESS
    progress: dict[str, Any] = read_json(path) if path.is_file() else {}
    return progress


def read_result(folder: Path) -> dict[str, Any]:
    """The metrics that a finished training wrote."""
    result: dict[str, Any] = read_json(folder / RESULT)
    return result
