"""What a training job's trainer is made of: data, teacher rows, model, device, and who judges the student.

Reads the `shards` and `embeddings` artifacts; writes nothing. Knows nothing of checkpoints, of epochs or of drivers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator import distributed, vocabulary
from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import Objective
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training import warm
from orchestrator.training.costs import Costs
from orchestrator.training.data import TeacherData
from orchestrator.training.judge import Judge, supply_of
from orchestrator.training.live_texts import attach, learnt_class_text
from orchestrator.training.loaders import start_fork_server
from orchestrator.training.loop import Trainer
from orchestrator.training.model import DistillationModel, check_inputs
from orchestrator.training.moments import Moments
from orchestrator.training.order import Place
from orchestrator.training.parallel import check_workers, device_of_worker, join, prepare
from orchestrator.training.parameters import freeze
from orchestrator.training.precision import set_gpu_products
from orchestrator.training.student_file import context_of, save_student
from orchestrator.training.view_settings import TeacherViews
from orchestrator.training.watch import watched_coherence

if TYPE_CHECKING:
    from orchestrator.training.run import TrainingJob

IMAGE_TEACHER_INPUTS = frozenset(
    {vocabulary.TEACHER_IMAGE, vocabulary.TEACHER_LOGITS, vocabulary.TEACHER_FEATURE, vocabulary.TEACHER_MAP}
)
TEACHER_INPUTS = IMAGE_TEACHER_INPUTS | vocabulary.OF_RUN | {vocabulary.TEXT, vocabulary.TEXT_ID}


@dataclass(frozen=True)
class Assembled:
    """A job that is ready to be trained.

    Attributes:
        judge: measures the student on the selection split; all workers call it together.
        dims: widths of the teacher's outputs (`TeacherData.dims`).
        learnt: gives the class texts that are learnt with the student, where they are.
        teacher: all of the teacher's rows, of which the trainer has what is read.
        reads: what losses and student read of a batch, by vocabulary name.
        supplied: what a batch holds for them.
        moments: on the way to the first step.
    """

    job: "TrainingJob"
    trainer: Trainer
    judge: Judge
    dims: Mapping[str, int]
    learnt: Callable[[], Tensor] | None
    teacher: TeacherData
    reads: frozenset[str]
    supplied: frozenset[str]
    moments: Moments

    def save_student(self, name: str) -> None:
        """Write the student as it is now into the run's folder."""
        class_text = None if self.learnt is None else self.learnt()
        save_student(self.trainer.student, self.job, Path(self.job.folder) / name, self.dims, class_text)


def assemble(job: "TrainingJob", *, parallel: bool) -> Assembled:
    """Load and build everything.

    Args:
        parallel: this process is one of several in a torch process group: wrap the model in DDP.

    Raises:
        ConfigError: losses, student and data do not fit one another.
    """
    moments = Moments()
    check_workers(job.training, [distributed.world_size()])
    torch.set_num_threads(job.training.num_threads)
    start_fork_server(job.loading)
    set_gpu_products(job.training)
    device = device_of_worker()
    shards, hot_copies = Path(job.shards), Path(job.hot_copies) if job.hot_copies else None
    images, select = (
        warm.split(shards, split, job.loading.images) for split in (vocabulary.SPLIT_TRAIN, vocabulary.SPLIT_SELECT)
    )
    counts = np.bincount(images.labels, minlength=job.num_classes)
    teacher = warm.teacher(Path(job.embeddings), job.text_sources, hot_copies, job.num_classes)
    dims = teacher.dims  # of all that there is, whatever part of it the losses read
    moments.reached("data")
    num_domains = 0 if teacher.domain_vectors is None else teacher.domain_vectors.shape[1]
    model = build_model(
        job, tuple(int(n) for n in counts), dims, num_images=len(images.labels), num_domains=num_domains
    )
    attach(
        model, job.live_texts, embeddings=Path(job.embeddings), num_trained=int(images.labels.max()) + 1,
        seed=job.training.init_seed,
    )  # fmt: skip
    _start_from_class_texts(model, teacher, job.num_classes)
    model = prepare(model, job.training, device)
    groups = job.class_groups
    num_judged = groups.validation.stop  # not the report's unseen classes, whose texts training never reads
    class_text: Any = teacher.constants(num_judged).get(vocabulary.CLASS_TEXT)
    if (learnt := learnt_class_text(model)) is not None:
        class_text = lambda: learnt()[:num_judged]  # noqa: E731
    reads = _reads(model)
    trainer = Trainer(
        model, job.training, images, read_of(job, teacher, reads), device=device,
        parallel=join(model, device) if parallel else None, image_size=job.image_size,
        num_classes=job.num_classes, num_seen_classes=job.num_seen_classes, loading=job.loading,
        moments=moments,
    )  # fmt: skip
    supplied = frozenset(trainer.make_batch(np.arange(min(2, len(images.labels))), Place(0, 0)))
    check_inputs(model, supplied, with_views=bool(job.training.more_views))
    embeddings = warm.embeddings(Path(job.embeddings), hot_copies)
    supply = supply_of(model.student, select, embeddings, vocabulary.SPLIT_SELECT, job.image_size, job.text_sources)
    seen = embeddings.get(f"images/{vocabulary.SPLIT_SELECT}/{EMBEDDING}")
    of_select = seen.array if seen is not None and reads & IMAGE_TEACHER_INPUTS else None
    of_seen = np.flatnonzero(select.labels < groups.num_seen)
    watched = watched_coherence(trainer.student, supply, of_seen, of_select, job.watch.coherence_images)
    costs = Costs(trainer.student, job.image_size, job.costs)
    judge = Judge(trainer.student, supply, select.labels, counts, groups, class_text, watched, costs)
    moments.reached("student")
    return Assembled(job, trainer, judge, dims, learnt, teacher, reads, supplied, moments)


def _reads(model: DistillationModel) -> frozenset[str]:
    """What losses and student read of a batch, by vocabulary name."""
    return model.objective.required_inputs() | model.objective.optional_inputs() | set(model.student.reads)


def read_of(job: "TrainingJob", teacher: TeacherData, reads: frozenset[str]) -> TeacherData | None:
    """The part of the teacher's rows that is read under these names; None: none.

    Raises:
        ConfigError: the rows are of other views than this training draws.
    """
    if not reads & TEACHER_INPUTS:
        return None
    teacher = teacher.only(reads)
    if not reads & IMAGE_TEACHER_INPUTS:
        teacher = teacher.texts_only()
    elif job.live_teacher is not None:
        live = warm.live(job.live_teacher, Path(job.shards), job.training, job.image_size)
        teacher = replace(teacher, live=live, hybrid=job.live_teacher.mode == "hybrid")
    if teacher.views is not None:
        _check_views(job, teacher.views)
    return teacher


def build_model(
    job: "TrainingJob",
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


def _check_views(job: "TrainingJob", kept: TeacherViews) -> None:
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
