"""Contrastive representation distillation: an image's student vector finds its teacher vector among memorised ones.

Holds the formula's parts and the module, which learns both projections and remembers both vectors of every image.
Reads and writes nothing. Which negatives a row meets is drawn in counter_draws.py.
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator.losses.formulas.counter_draws import draw_others
from orchestrator.losses.formulas.loss import Loss, constant, joined, unit, upcast, without_autocast

DENSE_UP_TO = 32  # images of the memory for each drawn one, up to which all products take less than picking rows


def contrast_scores(vector: Tensor, memory: Tensor, contrast_index: Tensor, *, temperature: float = 0.07) -> Tensor:
    """exp(v_i . m_k / temperature) of the rows k = contrast_index[i] of the memory: [N, K + 1], not yet divided by Z.

    vector [N, D] and memory [n, D] of unit rows. The memory is a constant, and may change after the call.
    """
    memory = memory.detach().to(vector.dtype)
    if len(memory) <= DENSE_UP_TO * contrast_index.shape[1]:
        product = (vector @ memory.clone().T).gather(1, contrast_index)
    else:
        product = torch.einsum("nkd,nd->nk", memory[contrast_index], vector)
    return torch.exp(product / temperature)


def noise_contrastive_loss(score: Tensor, num_images: int, *, epsilon: float = 1e-7) -> Tensor:
    """-log h of the positive - sum of log (1 - h) of K negatives, mean over rows (Tian et al. 2020).

    score [N, K + 1], already divided by Z, the positive first; h = score / (score + K / n), n = num_images. `epsilon`
    stands in every denominator, as in the authors' code.
    """
    noise = (score.shape[1] - 1) / num_images
    hit = torch.log(score[:, 0] / (score[:, 0] + noise + epsilon))
    missed = torch.log(noise / (score[:, 1:] + noise + epsilon))
    return -(hit + missed.sum(dim=1)).mean()


class ContrastiveRepresentationDistillation(Loss):
    """Both NCE terms, of projections of the student's and the teacher's feature against each other's memory.

    Memories, their normalisers Z (a constant of the first batch of all workers) and the count of steps are buffers, so
    that a resumed run draws what an undisturbed one draws; so do two workers and one process. Memories move in
    training mode only. Where an image stands twice in a batch, its first vector is remembered.
    """

    exemptions = MappingProxyType(
        {"gradient_check": "Z is a constant, but made of the first batch: its change is no part of the gradient"}
    )
    student_memory: Tensor
    teacher_memory: Tensor
    normaliser: Tensor
    step: Tensor

    def __init__(
        self,
        *,
        student_dim: int,
        teacher_dim: int,
        num_images: int,
        dim: int = 128,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        epsilon: float = 1e-7,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_images, self.num_negatives, self.seed = num_images, num_negatives, seed
        self.temperature, self.momentum, self.epsilon = temperature, momentum, epsilon
        self.student_projection = nn.Linear(student_dim, dim)
        self.teacher_projection = nn.Linear(teacher_dim, dim)
        random = torch.Generator().manual_seed(seed)  # own, so that all workers start with the same memories
        bound = (3 / dim) ** 0.5
        for name in ("student_memory", "teacher_memory"):
            start = torch.rand(num_images, dim, generator=random) * 2 * bound - bound
            self.register_buffer(name, start)
        self.register_buffer("normaliser", torch.zeros(2))  # of the student's and the teacher's term; 0 = not yet known
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, student_feature: Tensor, teacher_feature: Tensor, image_row: Tensor) -> Tensor:
        negatives = draw_others(image_row, self.step, self.num_negatives, self.num_images, seed=self.seed)
        contrast_index = torch.cat([image_row[:, None], negatives], dim=1)
        return self.contrast(student_feature, teacher_feature, image_row, contrast_index)

    def contrast(
        self, student_feature: Tensor, teacher_feature: Tensor, image_row: Tensor, contrast_index: Tensor
    ) -> Tensor:
        """The loss with given draws: contrast_index [N, K + 1], its first column the rows' own images."""
        with without_autocast(student_feature):
            student = unit(self.student_projection(upcast(student_feature)))
            teacher = unit(self.teacher_projection(constant(teacher_feature, student_feature)))
            memories = (self.teacher_memory, self.student_memory)  # each is sought in the other's
            scores = [
                contrast_scores(vector, memory, contrast_index, temperature=self.temperature)
                for vector, memory in zip((student, teacher), memories, strict=True)
            ]
            self._set_normaliser(scores)
            terms = [
                noise_contrastive_loss(score / z.to(score.dtype), self.num_images, epsilon=self.epsilon)
                for score, z in zip(scores, self.normaliser.clone(), strict=True)
            ]
        if self.training:
            self._remember(image_row, student, teacher)
        return terms[0] + terms[1]

    @torch.no_grad()
    def _set_normaliser(self, scores: list[Tensor]) -> None:
        means = torch.stack([score.mean() for score in scores])
        first = distributed.sum_over_workers(means) / distributed.world_size() * self.num_images
        self.normaliser.copy_(torch.where(self.normaliser > 0, self.normaliser, first.to(self.normaliser.dtype)))

    @torch.no_grad()
    def _remember(self, image_row: Tensor, student: Tensor, teacher: Tensor) -> None:
        rows = joined(image_row)
        first = (rows[:, None] == rows[None]).int().argmax(dim=1)
        for memory, vectors in ((self.student_memory, student), (self.teacher_memory, teacher)):
            new = joined(vectors.detach())[first].to(memory.dtype)
            memory[rows] = unit(self.momentum * memory[rows] + (1 - self.momentum) * new)
        self.step += 1

    def observed(self) -> dict[str, Tensor]:
        return {"normaliser_student": self.normaliser[0].detach(), "normaliser_teacher": self.normaliser[1].detach()}
