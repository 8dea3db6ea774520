"""What a student reads of a split, and its accuracy on the selection split while it is trained.

Reads shards and embeddings; training never reads the report split. Knows nothing of losses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.evaluation.predict import Supply, can_classify, count_correct, images_of
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.costs import Costs
from orchestrator.training.data import SplitData, load_split_rows
from orchestrator.training.watch import Coherence


def supply_of(
    student: Student, data: SplitData, embeddings: Embeddings, split: str, image_size: int, texts: Sequence[str]
) -> Supply:
    """What a student reads of a split's images: the images as they are, a teacher's rows of them, or both."""
    pixels = images_of(data.pixels, image_size) if IMAGE in student.reads else None
    if pixels is not None and student.reads == (IMAGE,):
        return pixels
    of_teacher = load_split_rows(embeddings, split, texts, len(data.labels), set(student.reads))

    def supply(rows: npt.NDArray[np.int64]) -> Mapping[str, Tensor]:
        return {**of_teacher(rows), **(pixels(rows) if pixels is not None else {})}

    return supply


@dataclass(frozen=True)
class Judge:
    """Called, it gives `select/all`, `select/many` and so on, and the coherence where that is watched.

    Students that cannot classify have no accuracy.

    Attributes:
        supply: what the student reads of the selection split.
        labels: [N] of it.
        train_count: training images of each class.
        class_text: [C', D] unit embeddings of the seen classes, for students without a classifier; a function that
            gives them where they are learnt.
        coherence: of the same split; None: it is not measured.
        costs: what the student costs at inference; None: it is not measured.
    """

    student: Student
    supply: Supply
    labels: npt.NDArray[np.int64]
    train_count: npt.NDArray[np.int64]
    class_text: Tensor | Callable[[], Tensor] | None = None
    coherence: Coherence | None = None
    costs: Costs | None = None

    def __call__(self) -> dict[str, float]:
        """See the class."""
        coherence = self.coherence() if self.coherence is not None else {}
        return {**self._accuracies(), **coherence, **(self.costs() if self.costs is not None else {})}

    def _accuracies(self) -> dict[str, float]:
        class_text = self.class_text() if callable(self.class_text) else self.class_text
        if not can_classify(self.student, class_text):
            return {}
        label_range = None if class_text is None else (0, len(class_text))
        correct, total = count_correct(
            self.student, self.supply, self.labels, len(self.train_count), class_text=class_text,
            label_range=label_range,
        )  # fmt: skip
        return {f"select/{name}": value for name, value in shot_accuracy(correct, total, self.train_count).items()}
