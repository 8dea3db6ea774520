"""Logit matching: the student's similarities within a batch follow the teacher's.

Holds the formula and its module, which learns the student's scale. Reads and writes nothing.
"""

from typing import Literal

import torch
from torch import Tensor

from orchestrator.losses.formulas.loss import Negatives, unit, without_autocast
from orchestrator.losses.formulas.similarity import (
    LogitScale,
    SimilarityLoss,
    TextFrom,
    column,
    kl_divergence,
)

Distance = Literal["kl", "mse"]
Pairs = Literal["image_text", "image_image"]


def similarity_matching_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    distance: Distance = "kl",
    temperature: float = 1.0,
    exclude_diagonal: bool = False,
    present: Tensor | None = None,
) -> Tensor:
    """T^2 / 2 [KL rows + KL columns] of softmax(teacher / T) || softmax(student / T); or the mean squared difference.

    Both logits [N, N]; the teacher's are constants. `exclude_diagonal` (self-similarities) leaves i = j out on both
    sides. present bool [N] (None = all): absent rows and columns are left out; nothing left gives 0 with zero gradient.
    The definition for in-batch similarities; T^2 keeps gradients comparable as in Hinton et al. (2015).
    """
    among = torch.ones_like(student_logits, dtype=torch.bool)
    if present is not None:
        among = among & present[:, None] & present[None, :]
    if exclude_diagonal:
        among = among & ~torch.eye(len(student_logits), dtype=torch.bool, device=student_logits.device)
    teacher_logits = teacher_logits.detach()
    if distance == "mse":
        difference = torch.where(among, student_logits - teacher_logits, 0.0)
        return difference.square().sum() / among.sum().clamp_min(1)
    student, teacher = student_logits / temperature, teacher_logits / temperature
    rows = kl_divergence(teacher, student, present, among)
    columns = kl_divergence(teacher.T, student.T, present, among.T)
    return temperature**2 * (rows + columns) / 2


class SimilarityMatching(SimilarityLoss):
    """`similarity_matching_loss` of image-text similarities, or of the images' among themselves (no texts needed)."""

    also_needs = ("teacher_image", "text")

    def __init__(
        self,
        *,
        scale: LogitScale,
        teacher_scale: float = 100.0,
        pairs: Pairs = "image_text",
        distance: Distance = "kl",
        temperature: float = 1.0,
        text_from: TextFrom = "student",
        negatives: Negatives = "global",
    ) -> None:
        super().__init__(text_from=text_from, scale=scale, negatives=negatives)
        self.pairs: Pairs = pairs
        self.distance: Distance = distance
        self.teacher_scale, self.temperature = teacher_scale, temperature

    def inputs(self) -> tuple[str, ...]:
        """Images only where only they are compared."""
        return super().inputs() if self.pairs == "image_text" else ("student_embedding", "teacher_image")

    def optional_inputs(self) -> tuple[str, ...]:
        return super().optional_inputs() if self.pairs == "image_text" else ()

    def forward(
        self,
        student_embedding: Tensor,
        student_text: Tensor | None = None,
        teacher_image: Tensor | None = None,
        text: Tensor | None = None,
        text_id: Tensor | None = None,
    ) -> Tensor:
        assert teacher_image is not None
        image = self.of_student(student_embedding)
        of_image = unit(self.of_teacher(teacher_image, image))
        other, of_other, present = image, of_image, None
        if self.pairs == "image_text":
            assert text is not None
            other = self.student_texts(image, student_text, text)[:, 0]
            of_other = unit(self.of_teacher(text[:, 0], image))
            present = column(self.present(text_id), 0)
        with without_autocast(student_embedding):
            return similarity_matching_loss(
                self.scale() * image @ other.T,
                self.teacher_scale * of_image @ of_other.T,
                distance=self.distance,
                temperature=self.temperature,
                exclude_diagonal=self.pairs == "image_image",
                present=present,
            )
