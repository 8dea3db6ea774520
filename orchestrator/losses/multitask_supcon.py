"""Settings of PaCo's multi-task baseline: a balanced softmax beside supervised contrast with a queue.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/parametric_contrastive.py.
"""

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.projection_head import KeyQueueSettings, check_views

if TYPE_CHECKING:
    from orchestrator.losses.formulas.parametric_contrastive import MultitaskSupCon


class MultitaskSupConSettings(KeyQueueSettings):
    """CE(z + log prior, y) + alpha * SupCon on views 1 and 2: the baseline that Cui et al. 2021 and 2023 compare with.

    The contrastive term of an anchor has an effective-number weight (beta 0.999, Cui et al. 2019) of its class. In the
    official code these weights always come out as 1: `effective_weights: as_code`; `intended` gives the mean effective
    number over the class's own.
    """

    kind: Literal["multitask_supcon"] = "multitask_supcon"
    weight: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=0.5, ge=0, description="weight of the contrastive term beside the cross-entropy")
    effective_weights: Literal["as_code", "intended"] = "as_code"
    head_depth: int = Field(default=2, ge=0)

    def build(self, context: LossContext) -> "MultitaskSupCon":
        from orchestrator.losses.formulas.parametric_contrastive import MultitaskSupCon, multitask_supcon_loss

        check_views(self.kind, context, needed=2)
        self.check_queue(context)
        options = self.model_dump(include={"alpha", "temperature"})
        return MultitaskSupCon(
            class_count=context.class_count,
            head=self.head_shape(context),
            queue_size=self.queue_size,
            negatives=self.negatives,
            effective_weights=self.effective_weights,
            formula=partial(multitask_supcon_loss, **options),
        )
