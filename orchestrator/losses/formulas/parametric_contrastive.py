"""PaCo, GPaCo and their multi-task baseline: supervised contrast with class centres, or beside a classifier.

Holds the formulas and the three modules, with projection head and queue. Reads and writes nothing; the rows of other
workers come from distributed. Knows nothing of the classifier whose logits are the centres. Sources: Cui et al. 2021
(PaCo) and 2023 (GPaCo), with the details of their official code.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.key_queue import KeyQueue
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import logit_adjusted_cross_entropy
from orchestrator.losses.formulas.loss import Loss, Negatives, constant, upcast, without_autocast
from orchestrator.losses.formulas.projection_head import (
    OWN_STATISTICS,
    HeadShape,
    ProjectionHead,
    follow_module,
    momentum_copy,
)
from orchestrator.losses.formulas.supervised_contrastive import (
    joined_rows,
    log_sum,
    mean_log_probability,
    mean_over_anchors,
    view_rows,
)

EffectiveWeights = Literal["as_code", "intended"]

_PRIOR_FLOOR = 1e-9  # added to every prior
_SUM_FLOOR = 1e-12  # added to the sum of exponentials, in units of the largest
_EFFECTIVE_NUMBER_BETA = 0.999


def floored_log_prior(class_count: Tensor) -> Tensor:
    """log(n_c / sum n + 1e-9) [C] float64: classes without a training image have a finite one."""
    count = class_count.double()
    return torch.log(count / count.sum() + _PRIOR_FLOOR)


def effective_number_weights(class_count: Tensor, reading: EffectiveWeights) -> Tensor:
    """[C] float64: mean of E / E_c with E_c = (1 - 0.999^n_c) / (1 - 0.999) (Cui et al. 2019), counts below 1 as 1.

    `as_code`: 1 for every class, because the official code takes the mean over the axis of length 1.
    """
    if reading == "as_code":
        return torch.ones(len(class_count), dtype=torch.float64, device=class_count.device)
    effective = -torch.expm1(class_count.double().clamp_min(1) * math.log(_EFFECTIVE_NUMBER_BETA))
    return effective.mean() / effective


def parametric_contrastive_loss(
    anchor: Tensor,
    key: Tensor,
    centre_logits: Tensor,
    anchor_label: Tensor,
    key_label: Tensor,
    own: Tensor,
    *,
    alpha: float,
    temperature: float,
    base_temperature: float | None = None,
    beta: float = 1.0,
    gamma: float = 1.0,
    supt: float = 1.0,
    smooth: float = 0.0,
    log_prior: Tensor | None = None,
) -> Tensor:
    """-(T / T_base) times the weighted mean of log p over an anchor's positives, mean over anchors (PaCo).

    anchor [A, D], key [M, D] (unit rows), centre_logits [A, C], labels [A] and [M], own [A] int64: each anchor's place
    among the keys, which it does not see. The row of an anchor is [(g + log prior) / supt, a.k / T]; in the sum below
    the fraction its contrastive entries count gamma times. Weights: alpha for each key of the same label; beta for the
    centre of the own class, or with label smoothing beta (1 - smooth), and beta smooth / (C - 1) for the others.
    T_base is T when None. Gradient through anchors, keys and centres; pass queue entries as constants. A scalar.
    """
    centres = upcast(centre_logits)
    num_classes = centres.shape[1]
    if log_prior is not None:
        centres = centres + log_prior.to(centres.dtype)
    similarity = anchor @ key.T / temperature
    is_self = own[:, None] == torch.arange(len(key), device=own.device)
    row = torch.cat([centres / supt, similarity.to(centres.dtype)], dim=1)

    left_out = F.pad(is_self, (num_classes, 0))
    counted = torch.cat([torch.zeros_like(centres), torch.full_like(similarity, math.log(gamma))], dim=1)
    total = _log_weighted_sum(row, counted, left_out)

    own_class = F.one_hot(anchor_label, num_classes).to(row.dtype)
    others = smooth / max(num_classes - 1, 1)
    centre_weight = beta * (others * (1 - own_class) + (1 - smooth) * own_class)
    positive = (anchor_label[:, None] == key_label) & ~is_self
    weight = torch.cat([centre_weight, alpha * positive.to(row.dtype)], dim=1)
    mean = (weight * (row - total)).sum(dim=1) / weight.sum(dim=1)
    return -mean.mean() * (1.0 if base_temperature is None else temperature / base_temperature)


def _log_weighted_sum(row: Tensor, log_weight: Tensor, left_out: Tensor) -> Tensor:
    floor = row.detach().amax(dim=1, keepdim=True) + math.log(_SUM_FLOOR)
    return torch.logaddexp(log_sum(row + log_weight, left_out, 0.0), floor)


def multitask_supcon_loss(
    anchor: Tensor,
    key: Tensor,
    logits: Tensor,
    anchor_label: Tensor,
    key_label: Tensor,
    own: Tensor,
    *,
    log_prior: Tensor,
    class_weight: Tensor,
    alpha: float,
    temperature: float,
    negatives: Negatives = "global",
) -> Tensor:
    """CE(z + log prior, y) + alpha times SupCon, whose anchors have the weight of their class.

    Arguments as in `parametric_contrastive_loss`, logits z [A, C], log_prior and class_weight [C]. The official code
    divides by 0 at an anchor without a positive; here it is left out of the mean, and when none is left the second term
    is 0. Of its constructor's arguments beta, gamma, supt and base_temperature its value depends on none. A scalar.
    """
    mean, num_positives = mean_log_probability(
        anchor, key, anchor_label, key_label, own, temperature=temperature, floor=_SUM_FLOOR
    )
    weighted = mean * class_weight.to(mean.dtype)[anchor_label]
    contrast = -mean_over_anchors(weighted, num_positives > 0, negatives)
    balanced = logit_adjusted_cross_entropy(logits, anchor_label, log_prior)
    return balanced + alpha * contrast


class _WithQueue(Loss):
    """What the three share: projection head, queue, the log prior, and whether keys are those of all workers."""

    log_prior: Tensor | None

    def __init__(
        self,
        *,
        class_count: tuple[int, ...],
        head: HeadShape,
        queue_size: int,
        negatives: Negatives,
        use_prior: bool = True,
    ) -> None:
        super().__init__()
        self.head = ProjectionHead(head)
        self.queue = KeyQueue(queue_size, head.dim, len(class_count))
        log_prior = floored_log_prior(torch.tensor(class_count)) if use_prior else None
        self.register_buffer("log_prior", log_prior, persistent=False)
        self.negatives: Negatives = negatives
        if head.couples_rows:
            self.exemptions = {"two_workers": OWN_STATISTICS}  # type: ignore[misc]

    def candidates(self, rows: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys [M + K] and their labels: the batch's rows, then the queue; and the places of the own rows [A]."""
        key, key_label, own = joined_rows(rows, label, self.negatives)
        return *self.queue.behind(key, key_label), own

    def remember(self, keys: Tensor, label: Tensor) -> None:
        """Put keys [N, D] into the queue, after they were used."""
        if self.training:
            self.queue.push(keys, label)

    def two_views(self, view_feature: Tensor, view_logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit features [2N, D], logits [2N, C] and labels [2N] of views 1 and 2, all of view 1 first."""
        rows, labels = view_rows(self.head(view_feature[:, :2]), label)
        logits, _ = view_rows(upcast(view_logits[:, :2]), label)
        return rows, logits, labels


class PaCo(_WithQueue):
    """Anchors are view 1; view 2 gives constant keys through momentum copies of the student and of the head.

    The head's copy follows after each optimizer step, which is before the next keys, as in the official code (at its
    first keys a copy equals the original). Not shuffled over workers: with batch norm and several workers, each
    worker's keys have batch statistics of their own.
    """

    def __init__(
        self,
        *,
        class_count: tuple[int, ...],
        head: HeadShape,
        queue_size: int,
        negatives: Negatives,
        use_prior: bool,
        key_momentum: float,
        formula: Callable[..., Tensor],
    ) -> None:
        super().__init__(
            class_count=class_count, head=head, queue_size=queue_size, negatives=negatives, use_prior=use_prior
        )
        self.key_head = momentum_copy(self.head)
        self.key_momentum = key_momentum
        self.formula = formula  # parametric_contrastive_loss with its options

    def forward(self, student_logits: Tensor, student_feature: Tensor, key_feature: Tensor, label: Tensor) -> Tensor:
        with without_autocast(student_feature):
            query = self.head(student_feature)
            with torch.no_grad():
                keys = self.key_head(constant(key_feature, query))
            rows, labels = view_rows(torch.stack([query, keys], dim=1), label)
            key, key_label, own = self.candidates(rows, labels)
            own = own[: len(query)]
            value: Tensor = self.formula(query, key, student_logits, label, key_label, own, log_prior=self.log_prior)
            self.remember(keys, label)
            return value

    def after_step(self) -> None:
        """Let the head's copy follow."""
        assert self.key_momentum is not None
        follow_module(self.key_head, self.head, self.key_momentum)


class GPaCo(_WithQueue):
    """Anchors are views 1 and 2, with gradient through both; only the queue's entries are constants."""

    def __init__(
        self,
        *,
        class_count: tuple[int, ...],
        head: HeadShape,
        queue_size: int,
        negatives: Negatives,
        use_prior: bool,
        formula: Callable[..., Tensor],
    ) -> None:
        super().__init__(
            class_count=class_count, head=head, queue_size=queue_size, negatives=negatives, use_prior=use_prior
        )
        self.formula = formula  # parametric_contrastive_loss with its options

    def forward(self, view_feature: Tensor, view_logits: Tensor, label: Tensor) -> Tensor:
        with without_autocast(view_feature):
            rows, logits, labels = self.two_views(view_feature, view_logits, label)
            key, key_label, own = self.candidates(rows, labels)
            value: Tensor = self.formula(rows, key, logits, labels, key_label, own, log_prior=self.log_prior)
            self.remember(rows[len(label) :], label)
            return value


class MultitaskSupCon(_WithQueue):
    """The baseline on GPaCo's two views and queue: a balanced softmax beside SupCon, without centres."""

    log_prior: Tensor
    class_weight: Tensor

    def __init__(
        self,
        *,
        class_count: tuple[int, ...],
        head: HeadShape,
        queue_size: int,
        negatives: Negatives,
        effective_weights: EffectiveWeights,
        formula: Callable[..., Tensor],
    ) -> None:
        super().__init__(class_count=class_count, head=head, queue_size=queue_size, negatives=negatives)
        weight = effective_number_weights(torch.tensor(class_count), effective_weights)
        self.register_buffer("class_weight", weight, persistent=False)
        self.formula = formula  # multitask_supcon_loss with its options

    def forward(self, view_feature: Tensor, view_logits: Tensor, label: Tensor) -> Tensor:
        with without_autocast(view_feature):
            rows, logits, labels = self.two_views(view_feature, view_logits, label)
            key, key_label, own = self.candidates(rows, labels)
            constants = {"log_prior": self.log_prior, "class_weight": self.class_weight, "negatives": self.negatives}
            value: Tensor = self.formula(rows, key, logits, labels, key_label, own, **constants)
            self.remember(rows[len(label) :], label)
            return value
