"""L_text: InfoNCE from an image's text prediction to its own texts against those of the other images.

Holds the formula and its module, which learns the temperature. Reads and writes nothing; the rows of other workers come
from distributed.all_gather. Knows nothing of the adaptor that makes the prediction, or of captions.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator.losses.formulas.loss import Loss, perhaps_learnt, unit, upcast, without_autocast
from orchestrator.vocabulary import TEXT

_MASKED = -1e30  # logit of a missing text: finite, so that a row without any candidate gives no NaN


def text_contrastive_loss(
    prediction: Tensor,
    text: Tensor,
    text_id: Tensor,
    scale: Tensor,
    *,
    symmetric: bool = False,
    merge_duplicates: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    gather: bool = False,
    mix_row: Tensor | None = None,
    mix_weight: Tensor | None = None,
    learnt_text: bool = False,
) -> Tensor:
    """Sum over the Q texts of -log softmax_j(scale * f_i . g_j) at j = i (VLM-KD, Eq. 2; methods 2.4).

    prediction [N, e] ("Shared": the raw output of one adaptor) or [N, Q, e] ("Separate": of one for each text), text
    [N, Q, e], text_id [N, Q] int64 (-1 = missing), scale = 1 / temperature (scalar). Rows of prediction and text are
    made unit. An image without text q is dropped as row and as column of the q-th term; a term with fewer than two
    images is 0 with zero gradient. `reduction` is over the remaining rows. `symmetric`: the mean of image to text and
    text to image. `merge_duplicates`: equal shares of the target for equal text ids. `gather`: candidates are those of
    all workers; then the mean of the workers' values, and of their gradients, is that of one process on the joined
    batch. `mix_row` [N] and `mix_weight` [N]: image i is mix_weight_i of its own and the rest of row mix_row_i of the
    same worker, and so is its target, where that row has a text (methods 16.4; rows are mixed in pairs).
    Returns a scalar >= 0 in float32 or better; no gradient into the texts unless `learnt_text` (methods 2.6).
    """
    with without_autocast(prediction):
        own_image = unit(upcast(prediction))
        own_text = unit(perhaps_learnt(text, own_image, learnt=learnt_text))
        num_rows, num_workers, first = len(own_image), 1, 0
        all_image, all_text, all_id = own_image, own_text, text_id
        if gather:
            num_workers, first = distributed.world_size(), distributed.rank() * num_rows
            all_text, all_id = distributed.all_gather(own_text), distributed.all_gather(text_id)
            all_image = distributed.all_gather(own_image) if symmetric else own_image
        column = torch.arange(len(all_id), device=text_id.device)
        own = torch.arange(num_rows, device=text_id.device) + first
        total = own_image.new_zeros(())
        for q in range(text.shape[1]):
            present = all_id[:, q] >= 0

            def share(row: Tensor, q: int = q) -> Tensor:
                """[N, M] share of the target that each column has when `row` [N] holds the image's own text."""
                is_target = row[:, None] == column
                if merge_duplicates:
                    is_target = is_target | (all_id[row, q, None] == all_id[None, :, q])
                return is_target.to(own_image.dtype) / is_target.sum(dim=1, keepdim=True)

            target = share(own)
            if mix_row is not None and mix_weight is not None:
                other = mix_row + first
                weight = torch.where(present[other], mix_weight.to(own_image.dtype), 1.0)[:, None]
                target = weight * target + (1 - weight) * share(other)
            image, candidates = (own_image, all_image) if prediction.ndim == 2 else (own_image[:, q], all_image[:, q])
            per_row = _cross_entropy(scale * image @ all_text[:, q].T, target, present)
            if symmetric:
                per_row = (per_row + _cross_entropy(scale * own_text[:, q] @ candidates.T, target, present)) / 2
            num_present = present.sum()
            kept = (text_id[:, q] >= 0) & (num_present >= 2)
            over_rows = (per_row * kept).sum() * num_workers
            total = total + (over_rows / num_present.clamp_min(1) if reduction == "mean" else over_rows)
        return total


def _cross_entropy(logits: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """[N] cross-entropies of [N, K] logits over the columns present with the target's shares [N, K]."""
    return F.cross_entropy(logits.masked_fill(~present, _MASKED), target, reduction="none")


class TextContrastive(Loss):
    """The formula with its temperature 1 / exp(log_scale), learnt (a scalar without weight decay) or fixed."""

    can_learn = frozenset({TEXT})
    log_scale: Tensor

    def __init__(
        self,
        *,
        temperature: float = 0.07,
        smallest_temperature: float = 0.01,
        learnable: bool = True,
        symmetric: bool = False,
        merge_duplicates: bool = False,
        reduction: Literal["mean", "sum"] = "mean",
        negatives: Literal["global", "per_worker"] = "global",
    ) -> None:
        super().__init__()
        start = torch.tensor(math.log(1 / temperature))
        if learnable:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start, persistent=False)
        self.largest_log_scale = math.log(1 / smallest_temperature)
        self.learnable, self.symmetric, self.merge_duplicates = learnable, symmetric, merge_duplicates
        self.reduction, self.negatives = reduction, negatives

    def forward(
        self,
        text_prediction: Tensor,
        text: Tensor,
        text_id: Tensor,
        mix_row: Tensor | None = None,
        mix_weight: Tensor | None = None,
    ) -> Tensor:
        return text_contrastive_loss(
            text_prediction,
            text,
            text_id,
            self.log_scale.exp(),
            symmetric=self.symmetric,
            merge_duplicates=self.merge_duplicates,
            reduction=self.reduction,
            gather=self.negatives == "global",
            mix_row=mix_row,
            mix_weight=mix_weight,
            learnt_text=TEXT in self.learnt,
        )

    def observed(self) -> dict[str, Tensor]:
        return {"temperature": torch.exp(-self.log_scale.detach())}

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp a learnt scale to at most 1 / smallest_temperature (100)."""
        if self.learnable:
            self.log_scale.clamp_(max=self.largest_log_scale)
