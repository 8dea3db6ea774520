"""Cosines of the student's rows with constant ones, and how far two of their distributions are apart on the nearest.

Holds pure functions of tensors. Reads and writes nothing. Knows nothing of what the rows are.
"""

from torch import Tensor

from orchestrator.losses.formulas.loss import perhaps_learnt, unit, upcast, without_autocast

MASKED = -1e7  # a logit that is no candidate (the official code's value): its probability is 0 in every number format


def cosine_logits(student: Tensor, given: Tensor, temperature: float | Tensor = 1.0, *, learnt: bool = False) -> Tensor:
    """[N, M] cosines of student [N, D] and given [M, D] (both raw; constant unless learnt) over the temperature."""
    with without_autocast(student):
        return unit(upcast(student)) @ unit(perhaps_learnt(given, student, learnt=learnt)).T / temperature


def nearest_divergence(teacher_logits: Tensor, student_logits: Tensor, k: int) -> Tensor:
    """[N] KL(p || q) >= 0 (nats): p, q softmax of the teacher's and student's row over the teacher's k largest entries.

    Both [N, M]; k is capped at M; k = 1 gives 0. An entry that is MASKED in both has no part in a row with
    another one; a row of none but such gives 0 with zero gradient.
    """
    nearest = teacher_logits.detach().topk(min(k, teacher_logits.shape[1]), dim=1).indices
    teacher = teacher_logits.gather(1, nearest).log_softmax(dim=1)
    student = student_logits.gather(1, nearest).log_softmax(dim=1)
    return (teacher.exp() * (teacher - student)).sum(dim=1)
