"""Distillation of image-text similarities: open_clip's DistillClipLoss, and MobileCLIP's with an ensemble of teachers.

Holds the teacher's target distributions, the distillation formula and two modules. Reads and writes nothing. Knows
nothing of where the teachers' embeddings come from.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss
from orchestrator.losses.formulas.loss import Negatives, unit, without_autocast
from orchestrator.losses.formulas.similarity import (
    LogitScale,
    SimilarityLoss,
    TextFrom,
    column,
    log_softmax_over,
    mean_over,
    soft_cross_entropy,
)


def ensemble_log_probability(
    image: Tensor,
    text: Tensor,
    dims: Sequence[int],
    scales: Sequence[float | Tensor],
    present: Tensor | None = None,
) -> Tensor:
    """[N, N] log of the mean over teachers of softmax_j(s_k image_i . text_j), each on its slice of the columns.

    image, text [N, sum(dims)]: the teachers' embeddings one beside the other, teacher k's of width dims[k] (each slice
    unit); one scale for all or one for each; present bool [N] says which columns are candidates.
    """
    each = list(scales) * len(dims) if len(scales) == 1 else list(scales)
    slices = zip(image.split(list(dims), dim=1), text.split(list(dims), dim=1), each, strict=True)
    members = [log_softmax_over(scale * one @ other.T, present) for one, other, scale in slices]
    total: Tensor = torch.logsumexp(torch.stack(members), dim=0)
    return total - torch.log(torch.tensor(float(len(members)), dtype=total.dtype, device=total.device))


def clip_distillation_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_scales: Sequence[float | Tensor],
    *,
    teacher_dims: Sequence[int] | None = None,
    subtract_entropy: bool = False,
    present: Tensor | None = None,
) -> Tensor:
    """1/2 sum over both directions of the mean over rows of -sum_j p_T log p_S, p = softmax of scaled similarities.

    image, text [N, D] unit rows of the student, scale a scalar; teacher_image, teacher_text [N, D_T], constants.
    `teacher_dims` are the widths of an ensemble's members, whose probabilities are averaged after the softmax (in each
    direction over its own rows); None takes the whole width as one teacher's. `subtract_entropy` takes p_T's entropy
    off: KL(p_T || p_S), with the same gradient. present bool [N] (None = all). Returns a scalar >= 0.
    """
    with without_autocast(image):
        dims = [teacher_image.shape[1]] if teacher_dims is None else teacher_dims
        first, second = teacher_image.detach(), teacher_text.detach()
        logits = scale * image @ text.T
        total = logits.new_zeros(())
        for student, one, other in ((logits, first, second), (logits.T, second, first)):
            log_probability = ensemble_log_probability(one, other, dims, teacher_scales, present)
            probability = log_probability.exp()
            total = total + soft_cross_entropy(probability, student, present)
            if subtract_entropy:
                total = total + mean_over((probability * log_probability).sum(dim=1), present)
        return total / 2


def reinforced_clip_losses(
    image: Tensor,
    texts: Tensor,
    scale: Tensor,
    teacher_image: Tensor,
    teacher_texts: Tensor,
    teacher_scales: Sequence[float | Tensor],
    *,
    weights: tuple[float, float] = (0.0, 1.0),
    teacher_dims: Sequence[int] | None = None,
    subtract_entropy: bool = False,
    present: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(weights[0] * CLIP loss, weights[1] * distillation), each added over the Q texts (MobileCLIP, Vasu et al. 2024).

    texts [N, Q, D], teacher_texts [N, Q, D_T] and present bool [N, Q] hold an image's texts, real and synthetic; the
    rest as in `clip_distillation_loss`. A part of weight 0 is 0.
    """
    contrastive = distill = image.new_zeros(())
    for q in range(min(texts.shape[1], teacher_texts.shape[1])):
        here = column(present, q)
        if weights[0] > 0:
            contrastive = contrastive + clip_contrastive_loss(image, texts[:, q], scale, here)
        if weights[1] > 0:
            distill = distill + clip_distillation_loss(
                image,
                texts[:, q],
                scale,
                teacher_image,
                teacher_texts[:, q],
                teacher_scales,
                teacher_dims=teacher_dims,
                subtract_entropy=subtract_entropy,
                present=here,
            )
    return weights[0] * contrastive, weights[1] * distill


class ClipDistillation(SimilarityLoss):
    """The sum of `reinforced_clip_losses`, over an image's first text or `all_texts`; learns the student's scale.

    With `teacher_dims` the teacher's embeddings are those of an ensemble, side by side; `average_after_softmax` off
    takes them as one vector (the sum of the members' similarities).
    """

    also_needs = ("teacher_image", "text")

    def __init__(
        self,
        *,
        scale: LogitScale,
        contrastive_weight: float = 1.0,
        distill_weight: float = 1.0,
        teacher_scales: Sequence[float] = (100.0,),
        teacher_dims: Sequence[int] = (),
        average_after_softmax: bool = True,
        subtract_entropy: bool = False,
        all_texts: bool = False,
        text_from: TextFrom = "student",
        negatives: Negatives = "global",
    ) -> None:
        super().__init__(text_from=text_from, scale=scale, negatives=negatives)
        self.weights = (contrastive_weight, distill_weight)
        self.teacher_scales, self.teacher_dims = tuple(teacher_scales), tuple(teacher_dims)
        self.average_after_softmax, self.subtract_entropy = average_after_softmax, subtract_entropy
        self.all_texts = all_texts

    def forward(
        self,
        student_embedding: Tensor,
        student_text: Tensor | None = None,
        text: Tensor | None = None,
        text_id: Tensor | None = None,
        teacher_image: Tensor | None = None,
    ) -> Tensor:
        assert text is not None
        assert teacher_image is not None
        image = self.of_student(student_embedding)
        texts = self.student_texts(image, student_text, text)
        contrastive, distill = reinforced_clip_losses(
            image,
            texts if self.all_texts else texts[:, :1],
            self.scale(),
            self._members(self.of_teacher(teacher_image, image)),
            self._members(self.of_teacher(text, image)),
            self.teacher_scales,
            weights=self.weights,
            teacher_dims=self.teacher_dims if self.teacher_dims and self.average_after_softmax else None,
            subtract_entropy=self.subtract_entropy,
            present=self.present(text_id),
        )
        self._parts = {"contrastive": contrastive.detach(), "distill": distill.detach()}
        return contrastive + distill

    def _members(self, embedding: Tensor) -> Tensor:
        """Each member's slice at length 1, as its own encoder gives it."""
        dims = list(self.teacher_dims) or [embedding.shape[-1]]
        return torch.cat([unit(one) for one in embedding.split(dims, dim=-1)], dim=-1)
