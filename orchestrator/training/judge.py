"""What a student reads of a split, and its accuracy on the selection split while it is trained.

Reads shards and embeddings; training never reads the report split. Knows nothing of losses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.evaluation.predict import Supply, can_classify, count_correct_within, images_of
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

    These are of the images of seen classes, told apart among seen classes. Of validation classes, where there are some,
    it gives `select/unseen_all` and `select/unseen_mean_per_class`, told apart among validation classes by their texts.
    Students that cannot classify have no accuracy; those with a classifier, which learns nothing of classes that it
    does not see, have none on validation classes.

    Attributes:
        supply: what the student reads of the selection split.
        labels: [N] of it.
        train_count: training images of each class.
        groups: which classes are seen, and which are for validation.
        class_text: [C', D] unit embeddings of the seen and the validation classes, for students without a classifier; a
            function that gives them where they are learnt.
        coherence: of the same split; None: it is not measured.
        costs: what the student costs at inference; None: it is not measured.
    """

    student: Student
    supply: Supply
    labels: npt.NDArray[np.int64]
    train_count: npt.NDArray[np.int64]
    groups: ClassGroups
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
        found = {f"select/{name}": value for name, value in self._within(self.groups.seen, class_text).items()}
        if self.groups.validation and vocabulary.STUDENT_LOGITS not in self.student.makes():
            unseen = self._within(self.groups.validation, class_text)
            found[vocabulary.UNSEEN_SELECTED_ALL] = unseen["all"]
            found[vocabulary.UNSEEN_SELECTED_MEAN] = unseen["mean_per_class"]
        return found

    def _within(self, group: range, class_text: Tensor | None) -> dict[str, float]:
        known = None if class_text is None else class_text[: group.stop]
        counted = count_correct_within(group, self.student, self.supply, self.labels, len(self.train_count), known)
        return shot_accuracy(*counted, self.train_count)
