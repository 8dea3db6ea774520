"""RISE: the student follows CLIP's zero-shot classes, and stays near texts of its class in CLIP's space.

Holds the formulas and the module that weighs them. Reads and writes nothing. Knows nothing of the teacher or of the
words of the texts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.loss import Loss, constant, unit, upcast, without_autocast


def zero_shot_distillation(
    student_logits: Tensor, teacher_image: Tensor, class_text: Tensor, *, temperature: float, logit_scale: float
) -> Tensor:
    """T^2 * KL(softmax(s * cos(image, text) / T) || softmax(z / T)), mean over the batch (RISE; methods 4).

    student_logits z [N, C], teacher_image [N, D], class_text [C, D], whose lengths do not matter. Returns a scalar >= 0
    in float32 or better.
    """
    student = torch.log_softmax(upcast(student_logits) / temperature, dim=1)
    with without_autocast(student):
        image, text = (unit(constant(tensor, student)) for tensor in (teacher_image, class_text))
        teacher = torch.log_softmax(logit_scale * image @ text.T / temperature, dim=1)
        return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def anchor_distance(embedding: Tensor, class_text: Tensor, target: Tensor) -> Tensor:
    """1 - cos(e, text of the own class), mean over the batch (RISE, absolute distance), in 0..2.

    embedding e [N, D], class_text [C, D]; target [N] int64 labels, or [N, C] a distribution over whose classes the
    distance is averaged.
    """
    e = unit(upcast(embedding))
    row, label, share = _classes_of_rows(target, e)
    cosine = (e[row] * unit(constant(class_text, e))[label]).sum(dim=-1)
    return (share * (1 - cosine)).sum() / len(e)


def relative_distance(
    embedding: Tensor, class_text: Tensor, domain_text: Tensor, target: Tensor, *, factor: float = 10.0
) -> Tensor:
    """factor * (softmax_k cos(e, d_k) - softmax_k cos(a, d_k))^2, mean over batch and the K domains (RISE).

    a is the text of the own class and d_k its texts in K domains. embedding e [N, D], class_text [C, D],
    domain_text [C, K, D], target as in `anchor_distance`; lengths do not matter.
    """
    e = unit(upcast(embedding))
    row, label, share = _classes_of_rows(target, e)
    anchor, domain = unit(constant(class_text, e))[label], unit(constant(domain_text, e))[label]
    wanted, given = (torch.softmax((one[:, None] * domain).sum(dim=-1), dim=1) for one in (anchor, e[row]))
    return factor * (share * (given - wanted).square().mean(dim=1)).sum() / len(e)


def _classes_of_rows(target: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a row and a class that its target names, each with its share of the row; [P] each."""
    if not target.is_floating_point():
        return torch.arange(len(target), device=target.device), target, like.new_ones(len(target))
    row, label = target.detach().nonzero(as_tuple=True)
    return row, label, constant(target, like)[row, label]


class Rise(Loss):
    """kl_weight * KL + ce_weight * CE + distance_weight * (absolute + relative distance)."""

    def __init__(
        self,
        *,
        temperature: float = 3.0,
        logit_scale: float = 100.0,
        kl_weight: float = 0.9,
        ce_weight: float = 0.1,
        distance_weight: float = 1.0,
        relative_factor: float = 10.0,
    ) -> None:
        super().__init__()
        self.temperature, self.logit_scale = temperature, logit_scale
        self.kl_weight, self.ce_weight = kl_weight, ce_weight
        self.distance_weight, self.relative_factor = distance_weight, relative_factor
        self._parts: dict[str, Tensor] = {}

    def inputs(self) -> tuple[str, ...]:
        """Those of the parts whose weight is above 0."""
        kl, ce, distance = self.kl_weight > 0, self.ce_weight > 0, self.distance_weight > 0
        wanted = {
            "student_embedding": distance,
            "student_logits": kl or ce,
            "teacher_image": kl,
            "class_text": kl or distance,
            "domain_text": distance and self.relative_factor > 0,
            "label": ce or distance,
        }
        return tuple(name for name, needed in wanted.items() if needed)

    def optional_inputs(self) -> tuple[str, ...]:
        """The label distribution, where a part reads labels."""
        return ("target",) if "label" in self.inputs() else ()

    def forward(
        self,
        student_embedding: Tensor | None = None,
        student_logits: Tensor | None = None,
        teacher_image: Tensor | None = None,
        class_text: Tensor | None = None,
        domain_text: Tensor | None = None,
        label: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        terms: dict[str, tuple[float, Tensor]] = {}
        targets = label if target is None else target
        if self.kl_weight > 0:
            assert student_logits is not None
            assert teacher_image is not None
            assert class_text is not None
            kl = zero_shot_distillation(
                student_logits, teacher_image, class_text, temperature=self.temperature, logit_scale=self.logit_scale
            )
            terms["kl"] = self.kl_weight, kl
        if self.ce_weight > 0:
            assert student_logits is not None
            assert targets is not None
            wanted = targets if target is None else constant(target, student_logits)
            terms["ce"] = self.ce_weight, F.cross_entropy(upcast(student_logits), wanted)
        if self.distance_weight > 0:
            assert student_embedding is not None
            assert class_text is not None
            assert targets is not None
            terms["absolute_distance"] = self.distance_weight, anchor_distance(student_embedding, class_text, targets)
            if self.relative_factor > 0:
                assert domain_text is not None
                relative = relative_distance(
                    student_embedding, class_text, domain_text, targets, factor=self.relative_factor
                )
                terms["relative_distance"] = self.distance_weight, relative
        self._parts = {name: value.detach() for name, (_, value) in terms.items()}
        return torch.stack([weight * value for weight, value in terms.values()]).sum()

    def observed(self) -> dict[str, Tensor]:
        return dict(self._parts)
