"""Losses that compare one output of the student with the teacher's: pooled features, or maps.

Holds their base class and the pooling of two maps to one size. Reads and writes nothing. Knows nothing of any formula.
"""

import logging
from abc import abstractmethod
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, Negatives, constant, joined, upcast, without_autocast

Output = Literal["feature", "map"]
_log = logging.getLogger(__name__)


def pooled_alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [N, c, h, w] with the larger average-pooled to the smaller, along each side by itself."""
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    alike = [one if tuple(one.shape[2:]) == size else F.adaptive_avg_pool2d(one, size) for one in (student, teacher)]
    return alike[0], alike[1]


class OutputPairLoss(Loss):
    """A loss on (student_feature, teacher_feature) or, with `output` = "map", on (student_map, teacher_map)."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output: Output = output

    def inputs(self) -> tuple[str, ...]:
        """The two outputs that it compares."""
        return (f"student_{self.output}", f"teacher_{self.output}")

    def optional_inputs(self) -> tuple[str, ...]:
        """None."""
        return ()

    def forward(
        self,
        student_feature: Tensor | None = None,
        teacher_feature: Tensor | None = None,
        student_map: Tensor | None = None,
        teacher_map: Tensor | None = None,
    ) -> Tensor:
        student = student_feature if self.output == "feature" else student_map
        teacher = teacher_feature if self.output == "feature" else teacher_map
        assert student is not None
        assert teacher is not None
        with without_autocast(student):
            return self.distance(upcast(student), constant(teacher, student))

    @abstractmethod
    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss (scalar) of both outputs in float32 or better."""


class RelationLoss(OutputPairLoss):
    """A loss of how the rows of a batch stand to each other, in the student and in the teacher; maps are flattened.

    Rows are those of all workers unless `negatives` is "per_worker". A batch with fewer than `fewest_rows` rows has no
    relation: the value is 0 with zero gradient, and the first time a warning is logged (methods, section 7).
    """

    fewest_rows: ClassVar[int] = 2
    _warned = False

    def __init__(self, output: Output, negatives: Negatives) -> None:
        super().__init__(output)
        self.negatives: Negatives = negatives

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        num_own = len(student)
        student, teacher = (joined(rows.flatten(1), self.negatives) for rows in (student, teacher))
        if len(student) >= self.fewest_rows:
            return self.relation(student, teacher, num_own)
        if not self._warned:
            _log.warning("%s: a batch of %d rows has no relations; the term is 0", type(self).__name__, len(student))
            self._warned = True
        return 0 * student.sum()

    @abstractmethod
    def relation(self, student: Tensor, teacher: Tensor, num_own: int) -> Tensor:
        """The loss (scalar) of all rows [M, d] and [M, d_t], `num_own` of which are the worker's."""
