"""Accuracy of a student on the selection split while it is trained; training never reads the report split.

Reads and writes nothing. Knows nothing of losses.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.evaluation.predict import count_correct, images_of
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.data import SplitData


@dataclass(frozen=True)
class Judge:
    """Called, it gives `select/all`, `select/many` and so on; nothing for students that cannot classify images.

    Attributes:
        train_count: training images of each class.
        class_text: [C', D] unit embeddings of the seen classes, for students without a classifier.
    """

    student: Student
    select: SplitData
    train_count: npt.NDArray[np.int64]
    image_size: int
    class_text: Tensor | None = None

    def __call__(self) -> dict[str, float]:
        """See the class."""
        made = self.student.makes()
        if self.student.reads[0] != IMAGE:
            return {}
        if v.STUDENT_LOGITS not in made and (self._classes() is None or v.STUDENT_EMBEDDING not in made):
            return {}
        num_classes = len(self.train_count)
        label_range = None if self.class_text is None else (0, len(self.class_text))
        correct, total = count_correct(
            self.student, images_of(self.select.pixels, self.image_size), self.select.labels, num_classes,
            class_text=self.class_text, label_range=label_range,
        )  # fmt: skip
        return {f"select/{name}": value for name, value in shot_accuracy(correct, total, self.train_count).items()}

    def _classes(self) -> Tensor | None:
        """The class texts in the student's own space, where it has a way to bring them there."""
        if self.class_text is None:
            return None
        return self.student.class_embeddings(self.class_text.to(next(self.student.parameters()).device))
