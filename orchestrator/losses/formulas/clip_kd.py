"""CLIP-KD: six ways for a two-tower student to follow a two-tower teacher (Yang et al. 2024).

Holds the parts as pure functions on unit rows, and the module that weighs them and learns projections, fusions and
scales. Reads and writes nothing. Knows nothing of the encoders.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss
from orchestrator.losses.formulas.loss import Negatives, unit, upcast, without_autocast
from orchestrator.losses.formulas.similarity import (
    LogitScale,
    SimilarityLoss,
    column,
    kl_divergence,
    log_softmax_over,
    mean_over,
    own_pair_cross_entropy,
)

Part = Literal["contrastive", "fd", "crd", "icl", "cross_kd", "gd", "afd"]


def feature_distillation_of_towers(
    image: Tensor, text: Tensor, teacher_image: Tensor, teacher_text: Tensor, present: Tensor | None = None
) -> Tensor:
    """FD: MSE(image, teacher's image) + MSE(text, teacher's text) over all elements; all [N, D] unit rows."""
    with_image = (image - teacher_image.detach()).square().mean(dim=1)
    with_text = (text - teacher_text.detach()).square().mean(dim=1)
    return mean_over(with_image + with_text, present)


def relational_distillation(student_logits: Tensor, teacher_logits: Tensor, present: Tensor | None = None) -> Tensor:
    """CRD: 1/2 [KL(teacher || student) over rows + over columns] of scaled similarities [N, N]."""
    rows = kl_divergence(teacher_logits, student_logits, present)
    return (rows + kl_divergence(teacher_logits.T, student_logits.T, present)) / 2


def crossed_logits(
    image: Tensor, text: Tensor, teacher_image: Tensor, teacher_text: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """scale * (student's images with the teacher's texts), scale * (student's texts with the teacher's images)."""
    with without_autocast(image):
        return scale * image @ teacher_text.detach().T, scale * text @ teacher_image.detach().T


def interactive_contrastive(crossed: tuple[Tensor, Tensor], present: Tensor | None = None) -> Tensor:
    """ICL: 1/2 [CE + CE] of both crossed logits, whose targets are the own pairs."""
    return (own_pair_cross_entropy(crossed[0], present) + own_pair_cross_entropy(crossed[1], present)) / 2


def crossed_distillation(
    crossed: tuple[Tensor, Tensor], teacher_logits: Tensor, present: Tensor | None = None
) -> Tensor:
    """Cross-KD: 1/2 [KL + KL] of both crossed logits to the teacher's similarities [N, N] (rows are images)."""
    of_image = kl_divergence(teacher_logits, crossed[0], present)
    return (of_image + kl_divergence(teacher_logits.T, crossed[1], present)) / 2


def contrastive_gradients(
    anchor: Tensor, other: Tensor, scale: Tensor, present: Tensor | None = None, *, inverse_scale: bool = False
) -> tuple[Tensor, Tensor]:
    """Gradients, in anchor and in other [N, D], of the mean over rows of CE(scale * anchor @ other.T, own pair).

    `inverse_scale` divides by the scale where the loss multiplies, as the official code does.
    """
    with without_autocast(anchor):
        factor = 1 / scale if inverse_scale else scale
        probability = log_softmax_over(factor * anchor @ other.T, present).exp()
        error = probability - torch.eye(len(anchor), dtype=anchor.dtype, device=anchor.device)
        if present is None:
            error = error / len(anchor)
        else:
            error = torch.where(present[:, None], error, 0.0) / present.sum().clamp_min(1)
        return factor * error @ other, factor * error.T @ anchor


def gradient_distillation(
    student: tuple[Tensor, Tensor, Tensor],
    teacher: tuple[Tensor, Tensor, Tensor],
    present: Tensor | None = None,
    *,
    inverse_scale: bool = False,
) -> Tensor:
    """GD: sum of four MSEs over all elements, of the CLIP loss' gradients in images and texts, both directions.

    student and teacher are (image [N, D], text [N, D], scale), with rows of the same width; the teacher's constants.
    """
    total = student[0].new_zeros(())
    for first, second in ((0, 1), (1, 0)):
        got = contrastive_gradients(student[first], student[second], student[2], present, inverse_scale=inverse_scale)
        wanted = contrastive_gradients(
            teacher[first].detach(), teacher[second].detach(), teacher[2], present, inverse_scale=inverse_scale
        )
        for one, other in zip(got, wanted, strict=True):
            total = total + mean_over((one - other.detach()).square().mean(dim=1), present)
    return total


class ClipKd(SimilarityLoss):
    """The weighted sum of the parts whose weight is above 0; learns their scales and linear maps.

    Where the teacher's width differs from the student's, a Linear for each tower brings the student's embedding to it,
    for all parts but the contrastive one and CRD. AFD fuses [student, teacher] with a Linear for each tower.
    """

    also_needs = ("teacher_image", "text")
    teacher_scale: Tensor

    def __init__(
        self,
        *,
        weights: Mapping[Part, float],
        embedding_dim: int,
        teacher_dim: int,
        scale: float = 1 / 0.07,
        learnable: bool = True,
        teacher_scale: float = 100.0,
        scale_without_exp: bool = False,
        inverse_gd_scale: bool = False,
        negatives: Negatives = "global",
    ) -> None:
        wanted = {part for part, weight in weights.items() if weight > 0}
        has_scale = bool(wanted & {"contrastive", "crd", "gd"})
        super().__init__(
            text_from="student", scale=LogitScale(scale, learnable=learnable and has_scale), negatives=negatives
        )
        self.weights: dict[Part, float] = {part: weight for part, weight in weights.items() if weight > 0}
        self.scale_without_exp, self.inverse_gd_scale = scale_without_exp, inverse_gd_scale
        self.register_buffer("teacher_scale", torch.tensor(teacher_scale), persistent=False)
        projects = embedding_dim != teacher_dim and bool(wanted - {"contrastive", "crd"})
        self.image_projection = nn.Linear(embedding_dim, teacher_dim) if projects else None
        self.text_projection = nn.Linear(embedding_dim, teacher_dim) if projects else None
        crosses = bool(wanted & {"icl", "cross_kd"})
        self.crossed_scale = LogitScale(learnable=learnable) if crosses else None
        fuses = "afd" in wanted
        self.image_fusion = nn.Linear(2 * teacher_dim, embedding_dim) if fuses else None
        self.text_fusion = nn.Linear(2 * teacher_dim, embedding_dim) if fuses else None
        self.fusion_scale = LogitScale(learnable=learnable) if fuses else None

    def forward(
        self,
        student_embedding: Tensor,
        student_text: Tensor | None = None,
        teacher_image: Tensor | None = None,
        text: Tensor | None = None,
        text_id: Tensor | None = None,
    ) -> Tensor:
        assert student_text is not None
        assert teacher_image is not None
        assert text is not None
        student_text = student_text[:, 0] if student_text.ndim == 3 else student_text
        like = upcast(student_embedding)
        with without_autocast(student_embedding):
            values = self.parts(
                (student_embedding, student_text),
                (self.of_teacher(teacher_image, like), self.of_teacher(text[:, 0], like)),
                column(self.present(text_id), 0),
            )
        self._parts = {part: value.detach() for part, value in values.items()}
        return torch.stack([self.weights[part] * value for part, value in values.items()]).sum()

    def parts(
        self, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], present: Tensor | None
    ) -> dict[Part, Tensor]:
        """The unweighted parts; student: raw (image, text) rows of this worker; teacher: unit rows of all workers."""
        own_image, own_text = self.of_student(student[0]), self.of_student(student[1])
        image, text = self._in_teacher_space(*student)
        scale = self.scale()
        logits = scale * own_image @ own_text.T
        teacher_logits = self.teacher_scale * teacher[0] @ teacher[1].T
        found: dict[Part, Tensor] = {}
        for part in self.weights:
            if part == "contrastive":
                found[part] = clip_contrastive_loss(own_image, own_text, scale, present)
            elif part == "fd":
                found[part] = feature_distillation_of_towers(image, text, *teacher, present)
            elif part == "crd":
                found[part] = relational_distillation(logits, teacher_logits, present)
            elif part == "gd":
                both = (image, text, scale), (*teacher, self.teacher_scale)
                found[part] = gradient_distillation(*both, present, inverse_scale=self.inverse_gd_scale)
            elif part == "afd":
                found[part] = self._fused(image, text, teacher, present)
            else:
                assert self.crossed_scale is not None
                crossed = crossed_logits(image, text, *teacher, self._value(self.crossed_scale))
                found[part] = (
                    interactive_contrastive(crossed, present)
                    if part == "icl"
                    else crossed_distillation(crossed, teacher_logits, present)
                )
        return found

    def _in_teacher_space(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        if self.image_projection is None or self.text_projection is None:
            return self.of_student(image), self.of_student(text)
        projected = self.image_projection(upcast(image)), self.text_projection(upcast(text))
        return self.of_student(projected[0]), self.of_student(projected[1])

    def _fused(self, image: Tensor, text: Tensor, teacher: tuple[Tensor, Tensor], present: Tensor | None) -> Tensor:
        assert self.image_fusion is not None
        assert self.text_fusion is not None
        assert self.fusion_scale is not None
        fused_image = unit(self.image_fusion(torch.cat([image, teacher[0]], dim=1)))
        fused_text = unit(self.text_fusion(torch.cat([text, teacher[1]], dim=1)))
        return clip_contrastive_loss(fused_image, fused_text, self._value(self.fusion_scale), present)

    def _value(self, scale: LogitScale) -> Tensor:
        """What multiplies the similarities: exp(s), or s itself as in the official code."""
        return scale.log_scale if self.scale_without_exp else scale()

    def after_step(self) -> None:
        super().after_step()
        for scale in (self.crossed_scale, self.fusion_scale):
            if scale is not None and not self.scale_without_exp:  # the code never clamps these
                scale.clamp()
