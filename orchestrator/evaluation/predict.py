"""A student's predictions and embeddings on a split.

Reads nothing itself (pixels may be memory-mapped). Knows nothing of training.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.views import scale_pixels

BATCH_SIZE = 256
COSINE_TEMPERATURE = 0.07  # of cosines to class texts that are made probabilities
Rows = npt.NDArray[np.int64]
Supply = Callable[[Rows], Mapping[str, Tensor]]  # rows of a split -> what a student reads of them, by batch name


class Frames(Protocol):
    """Pixels [N, R, R, 3] that are read by rows: an array, memory-mapped or not, or images decoded when asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, R, R, 3]."""

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.uint8]:
        """The frames of these rows."""


def images_of(pixels: Frames, image_size: int | None = None) -> Supply:
    """A split's images as a student's input: the centre [image_size, image_size] of pixels [N, R, R, 3]."""
    side = pixels.shape[1]
    size = image_size or side
    edge = (side - size) // 2

    def supply(rows: Rows) -> Mapping[str, Tensor]:
        return {IMAGE: scale_pixels(pixels[rows][:, edge : edge + size, edge : edge + size])}

    return supply


@torch.inference_mode()
def count_correct(
    student: Student,
    supply: Supply,
    labels: Rows,
    num_classes: int,
    *,
    class_text: Tensor | None = None,
    label_range: tuple[int, int] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Right and all predictions by class, [C] int64 each, over all workers (each takes every num_workers-th image).

    Args:
        student: raw logits decide (no prior: methods 2.1); without a classifier the cosine to class texts does.
        supply: what the student reads of the images.
        labels: [N].
        class_text: [C, D] unit embeddings of all classes, for students without a classifier.
        label_range: classes [first, last) among which to choose; None: all. For zero-shot on unseen classes (methods
            1.11), and of a closed-set classifier the slice of their outputs (1.12).
    """
    correct, total = torch.zeros(num_classes, dtype=torch.int64), torch.zeros(num_classes, dtype=torch.int64)
    rows = np.arange(distributed.rank(), len(labels), distributed.world_size())
    first = label_range[0] if label_range else 0
    for part, scores in _scores(student, supply, rows, num_classes, class_text, label_range):
        truth = torch.from_numpy(labels[part])
        correct += torch.bincount(truth[first + scores.argmax(1).cpu() == truth], minlength=num_classes)
        total += torch.bincount(truth, minlength=num_classes)
    return distributed.sum_over_workers(correct).numpy(), distributed.sum_over_workers(total).numpy()


def count_correct_within(
    group: range, student: Student, supply: Supply, labels: Rows, num_classes: int, class_text: Tensor | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The same of the images of a group of classes, told apart among these classes; others are left out."""
    rows = np.flatnonzero((labels >= group.start) & (labels < group.stop))
    return count_correct(
        student, lambda part: supply(rows[part]), labels[rows], num_classes,
        class_text=class_text, label_range=(group.start, group.stop),
    )  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """What a student says of each image of a split, in the order of its rows.

    Attributes:
        predicted: [N] the class it chooses.
        confidence: [N] float32, the probability of that class, 0 to 1.
        label_probability: [N] float32, the probability of the image's own class; 0 where it is no choice.
    """

    predicted: Rows
    confidence: npt.NDArray[np.float32]
    label_probability: npt.NDArray[np.float32]


@torch.inference_mode()
def predict_labels(
    student: Student,
    supply: Supply,
    labels: Rows,
    num_classes: int,
    *,
    class_text: Tensor | None = None,
    label_range: tuple[int, int] | None = None,
) -> Predictions:
    """The student's choice for every image, in this process; arguments and choice as in `count_correct`.

    Probabilities are the softmax of the raw logits, or of cosines to the class texts over 0.07.
    """
    first = label_range[0] if label_range else 0
    found = Predictions(
        np.zeros(len(labels), np.int64), np.zeros(len(labels), np.float32), np.zeros(len(labels), np.float32)
    )
    temperature = 1.0 if v.STUDENT_LOGITS in student.makes() else COSINE_TEMPERATURE
    for part, scores in _scores(student, supply, np.arange(len(labels)), num_classes, class_text, label_range):
        probabilities = torch.softmax(scores.float() / temperature, dim=1).cpu()
        chosen = scores.argmax(1).cpu()
        own = torch.from_numpy(labels[part]) - first
        is_choice = (own >= 0) & (own < probabilities.shape[1])
        of_own = probabilities.gather(1, own.clamp(0, probabilities.shape[1] - 1)[:, None])[:, 0]
        found.predicted[part] = (first + chosen).numpy()
        found.confidence[part] = probabilities.gather(1, chosen[:, None])[:, 0].numpy()
        found.label_probability[part] = torch.where(is_choice, of_own, 0.0).numpy()
    return found


def _scores(
    student: Student,
    supply: Supply,
    rows: Rows,
    num_classes: int,
    class_text: Tensor | None,
    label_range: tuple[int, int] | None,
) -> Iterator[tuple[Rows, Tensor]]:
    """Some rows at a time with [n, C'] logits, or cosines to class texts, among the label range."""
    first, last = label_range or (0, num_classes)
    classes = None if class_text is None else student.class_embeddings(class_text.to(_device_of(student)))
    for part, made in _outputs(student, supply, rows):
        if v.STUDENT_LOGITS in made:
            yield part, made[v.STUDENT_LOGITS][:, first:last]
        elif v.STUDENT_EMBEDDING in made and classes is not None:
            yield part, made[v.STUDENT_EMBEDDING].float() @ classes[first:last].float().T
        else:
            raise ConfigError(
                "the student has neither a classifier nor class texts to compare its embedding with",
                remedy="set student.classifier, or an image teacher that encodes texts too",
            )


def can_classify(student: Student, class_text: Tensor | None) -> bool:
    """Whether `count_correct` has anything to choose a class by."""
    made = student.makes()
    if v.STUDENT_LOGITS in made:
        return True
    if class_text is None or v.STUDENT_EMBEDDING not in made:
        return False
    with torch.inference_mode():
        return student.class_embeddings(class_text[:1].to(_device_of(student))) is not None


@torch.inference_mode()
def embed(student: Student, supply: Supply, num_rows: int, output: str) -> npt.NDArray[np.float32]:
    """One output of a student, [N, ...] float32, in the order of the rows, in this process."""
    parts = [made[output].float().cpu().numpy() for _, made in _outputs(student, supply, np.arange(num_rows))]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _outputs(student: Student, supply: Supply, rows: Rows) -> Iterator[tuple[Rows, Mapping[str, Tensor]]]:
    """Some rows at a time with what the student makes of them, in evaluation mode."""
    device = _device_of(student)
    was_training = student.training
    distributed.broadcast_buffers(student)
    student.eval()
    try:
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            given = supply(part)
            # the texts, which stand last, need not be given: a text side is then left out
            yield part, student(*(given[name].to(device) for name in student.reads if name in given))
    finally:
        student.train(was_training)


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
