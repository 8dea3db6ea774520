"""L_mse of the OOD paper: squared distance of the student's and the teacher's embedding.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the teacher.
"""

from typing import Literal

import torch
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, joined, unit, upcast

Form = Literal["unit", "raw_log"]


def embedding_mse(student: Tensor, teacher: Tensor, *, form: Form = "unit") -> Tensor:
    """Mean of the squared distances of unit vectors, or log(1 + mean / 10) of raw ones (Li et al., ICCV 2023, L_mse).

    student, teacher [N, D] raw; the square is summed over dimensions. In `raw_log` the mean is over all workers'
    images, because the logarithm of a mean is not the mean of logarithms. Returns a scalar >= 0 (unit: <= 4) in float32
    or better; no gradient into the teacher.
    """
    own, given = upcast(student), constant(teacher, student)
    if form == "unit":
        return (unit(own) - unit(given)).square().sum(dim=1).mean()
    return torch.log1p(joined((own - given).square().sum(dim=1)).mean() / 10)


class EmbeddingMSE(Loss):
    """The formula; in the form raw_log the unit teacher embedding is brought to `teacher_length`."""

    def __init__(self, *, form: Form = "unit", teacher_length: float = 1.0) -> None:
        super().__init__()
        self.form: Form = form
        self.teacher_length = teacher_length

    def forward(self, student_embedding: Tensor, teacher_image: Tensor) -> Tensor:
        teacher = constant(teacher_image, student_embedding) * self.teacher_length
        return embedding_mse(student_embedding, teacher, form=self.form)
