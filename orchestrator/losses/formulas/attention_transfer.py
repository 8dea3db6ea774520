"""Attention transfer: where the student's map is strong, the teacher's is.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the networks.
"""

from typing import Literal

import torch
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, unit, upcast
from orchestrator.losses.formulas.output_pair import pooled_alike

Form = Literal["code", "paper"]


def attention(feature_map: Tensor, *, power: float = 2.0, signed: bool = False) -> Tensor:
    """Unit vectors [N, h * w] of the channels' mean of |F|^power (Zagoruyko and Komodakis 2017).

    `signed`: of F^power, for whole powers: mdistiller takes no absolute value, which differs for odd ones.
    """
    strength = feature_map if signed else feature_map.abs()
    return unit(strength.pow(power).mean(dim=1).flatten(1))


def attention_transfer(
    student_map: Tensor, teacher_map: Tensor, *, power: float = 2.0, signed: bool = False, form: Form = "code"
) -> Tensor:
    """Distance of both attentions: mean square over rows and positions ("code"), or mean length of the row ("paper").

    Maps [N, c, h, w] of any channels; the larger is average-pooled to the smaller. "paper" is printed there, "code" is
    what its authors and mdistiller compute. A scalar >= 0 in float32 or better; no gradient into the teacher.
    """
    maps = pooled_alike(upcast(student_map), constant(teacher_map, student_map))
    student, teacher = (attention(one, power=power, signed=signed) for one in maps)
    return _distance(student - teacher, form)


def pooled_attention_transfer(student: Tensor, teacher: Tensor, *, power: float = 2.0, form: Form = "code") -> Tensor:
    """The same of pooled vectors [N, d], where there are no maps: their unit vectors of |f|^power (methods 6.3).

    A scalar >= 0 in float32 or better; no gradient into the teacher.
    """
    rows = upcast(student), constant(teacher, student)
    of_student, of_teacher = (unit(one.abs().pow(power)) for one in rows)
    return _distance(of_student - of_teacher, form)


def _distance(difference: Tensor, form: Form) -> Tensor:
    if form == "code":
        return difference.square().mean()
    return torch.linalg.vector_norm(difference, dim=1).mean()


class AttentionTransfer(Loss):
    """The formula."""

    def __init__(self, *, power: float = 2.0, signed: bool = False, form: Form = "code") -> None:
        super().__init__()
        self.power, self.signed = power, signed
        self.form: Form = form

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        return attention_transfer(student_map, teacher_map, power=self.power, signed=self.signed, form=self.form)


class AttentionTransferOfPooled(Loss):
    """The formula of pooled vectors; `teacher` is the batch input that it compares the student's feature with."""

    def __init__(self, teacher: str, *, power: float = 2.0, form: Form = "code") -> None:
        super().__init__()
        self.teacher, self.power = teacher, power
        self.form: Form = form

    def inputs(self) -> tuple[str, ...]:
        """The two vectors that it compares."""
        return ("student_feature", self.teacher)

    def optional_inputs(self) -> tuple[str, ...]:
        """None."""
        return ()

    def forward(
        self, student_feature: Tensor, teacher_feature: Tensor | None = None, teacher_image: Tensor | None = None
    ) -> Tensor:
        teacher = teacher_image if teacher_feature is None else teacher_feature
        assert teacher is not None
        return pooled_attention_transfer(student_feature, teacher, power=self.power, form=self.form)
