"""L_im-cst of the OOD paper: InfoNCE between the student's and the teacher's images of a batch.

Holds the formula and its module, which may learn the temperature. Reads and writes nothing. Knows nothing of the
teacher.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from orchestrator.losses.formulas.cosines import MASKED, cosine_logits, nearest_divergence
from orchestrator.losses.formulas.loss import Loss, Negatives, constant, joined, upcast

Mode = Literal["single", "bidirectional", "kl"]
Form = Literal["cosine", "sq_l2"]


def image_contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    mode: Mode = "bidirectional",
    form: Form = "cosine",
    label: Tensor | None = None,
    kl_weight: float = 2.5,
    kl_nearest: int = 10,
    negatives: Negatives = "per_worker",
) -> Tensor:
    """Mean of -log softmax_j(m_ij) at j = i, m_ij = cosine(student i, teacher j) / temperature (Li et al., L_im-cst).

    student, teacher [N, D] raw. `single`: each student row picks its teacher row; `bidirectional`: the mean of that and
    of the teacher rows picking theirs. `form: sq_l2`: minus the squared distance of unit vectors in place of the
    cosine, which is twice the cosine up to a constant. With `label` [N] other images of the same class are no
    negatives. `kl`: bidirectional, plus kl_weight times the mean KL of rows and of columns of m, not masked, to the
    teacher's own similarities over its kl_nearest images, the image itself among them. A batch of one gives 0 with zero
    gradient. Returns a scalar >= 0 in float32 or better, the joint one where `negatives` are global.
    """
    student, teacher = joined(upcast(student), negatives), joined(teacher.detach(), negatives)
    scale = 2.0 if form == "sq_l2" else 1.0
    logits = cosine_logits(student, teacher, temperature) * scale
    candidates = logits
    if label is not None:
        label = joined(label, negatives)
        same = label[:, None] == label
        candidates = logits.masked_fill(same & ~torch.eye(len(label), dtype=torch.bool, device=same.device), MASKED)
    loss = -candidates.log_softmax(dim=1).diagonal().mean()
    if mode == "single":
        return loss
    loss = (loss - candidates.log_softmax(dim=0).diagonal().mean()) / 2
    if mode == "bidirectional":
        return loss
    own = cosine_logits(constant(teacher, student), teacher, temperature) * scale
    both = nearest_divergence(own, logits, kl_nearest) + nearest_divergence(own, logits.T, kl_nearest)
    return loss + kl_weight * both.mean()


class ImageContrastive(Loss):
    """The formula with its temperature, fixed or learnt as exp(log_temperature) (a scalar without weight decay)."""

    log_temperature: nn.Parameter | None

    def __init__(
        self,
        *,
        mode: Mode = "bidirectional",
        form: Form = "cosine",
        temperature: float = 0.07,
        smallest_temperature: float = 0.01,
        learnable: bool = False,
        mask_same_class: bool = False,
        kl_weight: float = 2.5,
        kl_nearest: int = 10,
        negatives: Negatives = "global",
    ) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.form: Form = form
        self.negatives: Negatives = negatives
        self.temperature, self.smallest_log_temperature = temperature, math.log(smallest_temperature)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature))) if learnable else None
        self.mask_same_class, self.kl_weight, self.kl_nearest = mask_same_class, kl_weight, kl_nearest

    def inputs(self) -> tuple[str, ...]:
        """The two embeddings; the label where its other images are masked."""
        return ("student_embedding", "teacher_image", *(("label",) if self.mask_same_class else ()))

    def optional_inputs(self) -> tuple[str, ...]:
        """None: what it needs follows from its settings."""
        return ()

    def forward(self, student_embedding: Tensor, teacher_image: Tensor, label: Tensor | None = None) -> Tensor:
        return image_contrastive_loss(
            student_embedding,
            teacher_image,
            temperature=self.temperature if self.log_temperature is None else self.log_temperature.exp(),
            mode=self.mode,
            form=self.form,
            label=label,
            kl_weight=self.kl_weight,
            kl_nearest=self.kl_nearest,
            negatives=self.negatives,
        )

    def observed(self) -> dict[str, Tensor]:
        return {} if self.log_temperature is None else {"temperature": self.log_temperature.detach().exp()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp a learnt temperature to at least the smallest one (0.01)."""
        if self.log_temperature is not None:
            self.log_temperature.clamp_(min=self.smallest_log_temperature)
