"""SupCon: an anchor's log probability of the keys of its own class, among all other keys.

Holds the formula, the part of it that its relatives share, and the module with its projection head. Reads and writes
nothing; the rows of other workers come from distributed. Knows nothing of views but that they are rows.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from orchestrator import distributed
from orchestrator.losses.formulas.loss import Loss, Negatives, joined, upcast, without_autocast
from orchestrator.losses.formulas.projection_head import OWN_STATISTICS, HeadShape, ProjectionHead

_MASKED = -1e30  # logit of what is left out: finite, so that an anchor without any candidate gives no NaN


def view_rows(views: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [V * N, d] of views [N, V, d], all of view 1 first, and their labels [V * N]."""
    return views.transpose(0, 1).flatten(0, 1), label.repeat(views.shape[1])


def joined_rows(rows: Tensor, label: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor, Tensor]:
    """The candidate rows [M, D], their labels [M], and where among them the own rows stand [A]."""
    first = distributed.rank() * len(rows) if negatives == "global" else 0
    own = torch.arange(len(rows), device=rows.device) + first
    return joined(rows, negatives), joined(label, negatives), own


def mean_over_anchors(per_anchor: Tensor, kept: Tensor, negatives: Negatives) -> Tensor:
    """Mean of [A] values over the anchors kept, of all workers where negatives are global; 0 when none is.

    The mean over workers of this value, and of its gradients, is that of one process on the joined batch.
    """
    count = kept.sum()
    share: Tensor | float = 1.0
    if negatives == "global":
        count, share = distributed.sum_over_workers(count), distributed.world_size()
    return torch.where(kept, per_anchor, 0.0).sum() * share / count.clamp_min(1)


def mean_log_probability(
    anchor: Tensor,
    key: Tensor,
    anchor_label: Tensor,
    key_label: Tensor,
    own: Tensor,
    *,
    temperature: float,
    floor: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Per anchor, the mean over its positives of log [exp(a.p / T) / sum over k != a of exp(a.k / T)].

    anchor [A, D], key [M, D] (unit rows), labels [A] and [M], own [A] int64: the place of each anchor among the keys,
    which is neither positive nor candidate. `floor` is added to the sum in units of its largest term (the codes of
    PaCo: 1e-12). Returns the means [A], 0 without a positive, and the numbers of positives [A].
    """
    logits = anchor @ key.T / temperature
    is_self = own[:, None] == torch.arange(len(key), device=own.device)
    positive = (anchor_label[:, None] == key_label) & ~is_self
    log_probability = logits - log_sum(logits, is_self, floor)
    num_positives = positive.sum(dim=1)
    return torch.where(positive, log_probability, 0.0).sum(dim=1) / num_positives.clamp_min(1), num_positives


def log_sum(logits: Tensor, left_out: Tensor, floor: float) -> Tensor:
    """[A, 1] log of (sum over the entries not left out of exp, + floor * the largest exp of all entries)."""
    total = torch.logsumexp(logits.masked_fill(left_out, _MASKED), dim=1, keepdim=True)
    if floor == 0.0:
        return total
    return torch.logaddexp(total, logits.detach().amax(dim=1, keepdim=True) + math.log(floor))


def supervised_contrastive_loss(
    features: Tensor, label: Tensor, *, temperature: float = 0.07, negatives: Negatives = "global"
) -> Tensor:
    """-mean over anchors of the mean log probability of their positives (Khosla et al. 2020, Eq. 2, "out").

    features [A, D] unit rows, of all views; label [A]. Every row is an anchor; the other rows of its label are its
    positives. Anchors without one are dropped from the mean; when none is left the loss is 0 with zero gradient.
    """
    key, key_label, own = joined_rows(features, label, negatives)
    mean, num_positives = mean_log_probability(features, key, label, key_label, own, temperature=temperature)
    return -mean_over_anchors(mean, num_positives > 0, negatives)


class SupervisedContrastive(Loss):
    """The formula on the chosen views of each image, through a projection head of its own."""

    def __init__(
        self,
        *,
        head: HeadShape,
        views: Literal["all", "extra"],
        temperature: float,
        negatives: Negatives,
    ) -> None:
        super().__init__()
        self.head = ProjectionHead(head)
        self.first_view, self.skips_first_view = (0, False) if views == "all" else (1, True)
        self.temperature, self.negatives = temperature, negatives
        if head.couples_rows:
            self.exemptions = {"two_workers": OWN_STATISTICS}  # type: ignore[misc]

    def forward(self, view_feature: Tensor, label: Tensor) -> Tensor:
        with without_autocast(view_feature):
            projected = self.head(upcast(view_feature[:, self.first_view :]))
            features, labels = view_rows(projected, label)
            return supervised_contrastive_loss(features, labels, temperature=self.temperature, negatives=self.negatives)
