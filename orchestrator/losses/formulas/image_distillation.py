"""KD-I: the class distribution and the image embedding of an image teacher.

Holds the two formulas and the module that weighs them and learns the projection. Reads and writes nothing. Knows
nothing of the teacher.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.losses.formulas.class_prior import class_prior
from orchestrator.losses.formulas.loss import Loss, unit, upcast, without_autocast

Direction = Literal["teacher_to_student", "student_to_teacher"]


def logit_distillation(student_logits: Tensor, teacher_logits: Tensor, direction: Direction) -> Tensor:
    """KL(teacher || student), or KL(student || teacher), at temperature 1, mean over the batch (VLM-KD, Eq. 4).

    Both logits [N, C]. Returns a scalar >= 0 in float32 or better; no gradient into the teacher.
    """
    student = torch.log_softmax(upcast(student_logits), dim=1)
    teacher = torch.log_softmax(upcast(teacher_logits.detach()).to(student.dtype), dim=1)
    first, second = (teacher, student) if direction == "teacher_to_student" else (student, teacher)
    return F.kl_div(second, first, reduction="batchmean", log_target=True)


def feature_distillation(projected: Tensor, teacher: Tensor, *, raw: bool = False, mean_dims: bool = False) -> Tensor:
    """Squared distance of two [N, D] features, sum (or mean) over dimensions, mean over the batch (VLM-KD, Eq. 4).

    Both are made unit unless `raw`, and the sum is then 2 * (1 - cosine), in 0..4. No gradient into the teacher.
    """
    projected = upcast(projected)
    teacher = upcast(teacher.detach()).to(projected.dtype)
    if not raw:
        projected, teacher = unit(projected), unit(teacher)
    square = (projected - teacher).square()
    return (square.mean(dim=1) if mean_dims else square.sum(dim=1)).mean()


class ImageDistillation(Loss):
    """logit_weight * logit_distillation + feature_weight * feature_distillation of a learnt linear projection.

    With `tau` above 0 the student's logits are z + tau * log prior, the prior that of `class_count`.
    """

    log_prior: Tensor | None

    def __init__(
        self,
        *,
        class_count: Sequence[int],
        feature_dim: int,
        teacher_dim: int,
        logit_weight: float = 1.0,
        feature_weight: float = 1.0,
        teacher_temperature: float = 1.0,
        direction: Direction = "teacher_to_student",
        tau: float = 0.0,
        prior_floor: float | None = None,
        raw: bool = False,
        mean_dims: bool = False,
    ) -> None:
        super().__init__()
        self.logit_weight, self.feature_weight = logit_weight, feature_weight
        self.teacher_temperature = teacher_temperature
        self.direction: Direction = direction
        self.raw, self.mean_dims = raw, mean_dims
        self.tau = tau
        log_prior = torch.log(class_prior(class_count, prior_floor)) if tau > 0 else None
        self.register_buffer("log_prior", log_prior, persistent=False)
        self.projection = nn.Linear(feature_dim, teacher_dim) if feature_weight > 0 else None
        self._parts: dict[str, Tensor] = {}

    def inputs(self) -> tuple[str, ...]:
        """Those of the parts whose weight is above 0."""
        logits = ("student_logits", "teacher_logits") if self.logit_weight > 0 else ()
        return logits + (("student_feature", "teacher_image") if self.projection is not None else ())

    def optional_inputs(self) -> tuple[str, ...]:
        """None: what it needs follows from the weights of its parts."""
        return ()

    def forward(
        self,
        student_logits: Tensor | None = None,
        teacher_logits: Tensor | None = None,
        student_feature: Tensor | None = None,
        teacher_image: Tensor | None = None,
    ) -> Tensor:
        terms: list[Tensor] = []
        self._parts = {}
        if self.logit_weight > 0:
            assert student_logits is not None
            assert teacher_logits is not None
            student = upcast(student_logits)
            if self.log_prior is not None:
                student = student + self.tau * self.log_prior.to(student.dtype)
            kl = logit_distillation(student, teacher_logits / self.teacher_temperature, self.direction)
            terms.append(self.logit_weight * kl)
            self._parts["logits"] = kl.detach()
        if self.projection is not None:
            assert student_feature is not None
            assert teacher_image is not None
            with without_autocast(student_feature):
                projected = self.projection(upcast(student_feature))
                distance = feature_distillation(projected, teacher_image, raw=self.raw, mean_dims=self.mean_dims)
            terms.append(self.feature_weight * distance)
            self._parts["feature"] = distance.detach()
        return torch.stack(terms).sum()

    def observed(self) -> dict[str, Tensor]:
        return dict(self._parts)
