"""Neuron selectivity transfer: the student's channels respond at the places where the teacher's do.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the networks.
"""

from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, unit, upcast, without_autocast
from orchestrator.losses.formulas.output_pair import pooled_alike


def nst(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """K(t, t) + K(s, s) - 2 K(s, t): squared MMD with the kernel (a.b)^2 of channels (Huang and Wang 2017).

    Maps [N, c, h, w] of any channels; the larger is average-pooled to the smaller. Each channel is a unit vector over
    its positions, K the mean over images and pairs of channels. A scalar >= 0 in float32 or better; no gradient into
    the teacher.
    """
    with without_autocast(student_map):
        student, teacher = pooled_alike(upcast(student_map), constant(teacher_map, student_map))
        student, teacher = unit(student.flatten(2)), unit(teacher.flatten(2))

        def kernel(first: Tensor, second: Tensor) -> Tensor:
            return (first @ second.transpose(1, 2)).square().mean()

        return kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)


class NeuronSelectivityTransfer(Loss):
    """The formula."""

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        return nst(student_map, teacher_map)
