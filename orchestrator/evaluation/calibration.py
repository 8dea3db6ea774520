"""Whether a classifier's confidence can be believed: expected calibration error, negative log-likelihood, Brier score.

Holds pure functions of logits. Reads and writes nothing.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.evaluation.unit_vectors import Labels, as_labels, row_blocks

NUM_BINS = 15


def calibration(
    logits: Tensor, label: Labels, *, temperature: float = 1.0, num_bins: int = NUM_BINS
) -> dict[str, float]:
    """Calibration of softmax(logits / temperature); computed in float64, block by block.

    Args:
        logits: [N, C]; cosines with their temperature for students without a head.
        label: [N].
        num_bins: equal bins of the confidence, the greatest probability; bin b is (b/n, (b+1)/n], as Guo et al. 2017.

    Returns:
        `ece`: sum over bins of their share of images x |accuracy - mean confidence|, 0..1; `nll`: mean -log p(label),
        nats; `brier`: mean over images of the squared distance of probabilities and one-hot label, 0..2 (Brier 1950);
        `mean_confidence`. NaN without an image.
    """
    rows, truth = torch.as_tensor(logits).detach(), as_labels(label, logits)
    assert rows.ndim == 2
    assert len(rows) == len(truth)
    if len(rows) == 0:
        return dict.fromkeys(("ece", "nll", "brier", "mean_confidence"), math.nan)
    sums = torch.zeros(3, num_bins, dtype=torch.float64, device=rows.device)  # images, right, confidence
    nll = brier = 0.0
    for block in row_blocks(len(rows), rows.shape[1]):
        wanted = truth[block]
        log_probability = functional.log_softmax(rows[block].double() / temperature, dim=1)
        probability = log_probability.exp()
        nll += float(functional.nll_loss(log_probability, wanted, reduction="sum"))
        own = probability.gather(1, wanted[:, None]).squeeze(1)
        brier += float((probability.square().sum(1) - 2 * own + 1).sum())
        confidence, chosen = probability.max(1)
        bins = (torch.ceil(confidence * num_bins).long() - 1).clamp(0, num_bins - 1)
        right = (chosen == wanted).double()
        sums.index_add_(1, bins, torch.stack([torch.ones_like(right), right, confidence]))
    gap = (sums[1] - sums[2]).abs().sum()
    return {
        "ece": float(gap) / len(rows),
        "nll": nll / len(rows),
        "brier": brier / len(rows),
        "mean_confidence": float(sums[2].sum()) / len(rows),
    }
