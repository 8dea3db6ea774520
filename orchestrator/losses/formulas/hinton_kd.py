"""Knowledge distillation: the student follows the teacher's softened class distribution.

Holds the formulas (KD, logit standardisation, both with a share of cross-entropy) and their module. Reads and writes
nothing. Knows nothing of the teacher's origin.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, upcast

STANDARD_EPSILON = 1e-7  # added to the standard deviation of a row of logits


def standardised(logits: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) of each row [N, C], with the n - 1 form of the deviation (Sun et al. 2024).

    A row without any deviation is 0, with a finite gradient.
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / max(logits.shape[1] - 1, 1)
    varies = variance > 0
    deviation = torch.where(varies, variance, 1.0).sqrt() * varies
    return centred / (deviation + STANDARD_EPSILON)


def hinton_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    square_temperature: bool = True,
    standardise: bool = False,
) -> Tensor:
    """T^2 * KL(softmax(t / T) || softmax(s / T)), sum over classes, mean over the batch (Hinton et al. 2015).

    Both logits [N, C]. Without `square_temperature` the factor T^2 is left out, as in torchdistill without hard labels.
    `standardise` first takes each row of logits to mean 0 and deviation 1. Returns a scalar >= 0 in float32 or better;
    no gradient into the teacher.
    """
    student, teacher = upcast(student_logits), constant(teacher_logits, student_logits)
    if standardise:
        student, teacher = standardised(student), standardised(teacher)
    log_student = torch.log_softmax(student / temperature, dim=1)
    log_teacher = torch.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2 if square_temperature else divergence


def kd_with_cross_entropy(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    hard_label_weight: float,
    teacher_weight: float | None = None,
    temperature: float = 4.0,
    square_temperature: bool = True,
    standardise: bool = False,
) -> Tensor:
    """hard_label_weight * CE(s, target) + teacher_weight * KD: the combined loss of torchdistill (its alpha and beta).

    target [N] int64 labels or [N, C] label distributions; the cross-entropy is on the raw logits at temperature 1.
    teacher_weight None is 1 - hard_label_weight. The rest as in `hinton_kd`.
    """
    kd = hinton_kd(
        student_logits,
        teacher_logits,
        temperature=temperature,
        square_temperature=square_temperature,
        standardise=standardise,
    )
    logits = upcast(student_logits)
    hard = F.cross_entropy(logits, target.to(logits.dtype) if target.is_floating_point() else target)
    return hard_label_weight * hard + (1 - hard_label_weight if teacher_weight is None else teacher_weight) * kd


class HintonKD(Loss):
    """The formula, with cross-entropy where `hard_label_weight` is above 0; only then labels are an input."""

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        square_temperature: bool = True,
        standardise: bool = False,
        hard_label_weight: float = 0.0,
        teacher_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.square_temperature, self.standardise = temperature, square_temperature, standardise
        self.hard_label_weight = hard_label_weight
        self.teacher_weight = 1 - hard_label_weight if teacher_weight is None else teacher_weight

    def inputs(self) -> tuple[str, ...]:
        """Both logits, and the label for the cross-entropy."""
        return ("student_logits", "teacher_logits", *(("label",) if self.hard_label_weight > 0 else ()))

    def optional_inputs(self) -> tuple[str, ...]:
        """The label distribution of mixed images, for the cross-entropy."""
        return ("target",) if self.hard_label_weight > 0 else ()

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        label: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        temperature, square, standardise = self.temperature, self.square_temperature, self.standardise
        if self.hard_label_weight == 0:
            return self.teacher_weight * hinton_kd(
                student_logits,
                teacher_logits,
                temperature=temperature,
                square_temperature=square,
                standardise=standardise,
            )
        wanted = label if target is None else target
        assert wanted is not None
        return kd_with_cross_entropy(
            student_logits,
            teacher_logits,
            wanted,
            hard_label_weight=self.hard_label_weight,
            teacher_weight=self.teacher_weight,
            temperature=temperature,
            square_temperature=square,
            standardise=standardise,
        )
