"""KL of the image similarities within the teacher's neighbourhoods of a batch.

Holds the formula and its module. Reads and writes nothing. Knows nothing of the teacher.
"""

from torch import Tensor

from orchestrator.losses.formulas.cosines import nearest_divergence
from orchestrator.losses.formulas.loss import Loss, Negatives, constant, joined, unit, upcast, without_autocast


def neighbourhood_kl(
    student: Tensor, teacher: Tensor, *, k: int = 10, temperature: float = 0.07, negatives: Negatives = "per_worker"
) -> Tensor:
    """KL(teacher || student) of cosine(i, j) / temperature over the k images j nearest to i for the teacher, mean.

    student [N, d], teacher [N, D], raw; the image itself is among its k, which are capped at the batch. A batch of one
    gives 0 with zero gradient. Returns a scalar >= 0 in float32 or better, the joint one where `negatives` are global.
    """
    student, teacher = joined(upcast(student), negatives), joined(teacher.detach(), negatives)
    with without_autocast(student):
        own, given = unit(student), unit(constant(teacher, student))
        return nearest_divergence(given @ given.T / temperature, own @ own.T / temperature, k).mean()


class NeighbourhoodKL(Loss):
    """The formula with its k and temperature."""

    def __init__(self, *, k: int = 10, temperature: float = 0.07, negatives: Negatives = "global") -> None:
        super().__init__()
        self.k, self.temperature = k, temperature
        self.negatives: Negatives = negatives

    def forward(self, student_embedding: Tensor, teacher_image: Tensor) -> Tensor:
        return neighbourhood_kl(
            student_embedding, teacher_image, k=self.k, temperature=self.temperature, negatives=self.negatives
        )
