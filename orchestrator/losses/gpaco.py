"""Settings of GPaCo: supervised contrast with class centres, one encoder for both views, and a queue.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/parametric_contrastive.py.
"""

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.projection_head import KeyQueueSettings, check_views

if TYPE_CHECKING:
    from orchestrator.losses.formulas.parametric_contrastive import GPaCo


class GPaCoSettings(KeyQueueSettings):
    """Cui et al. 2023 as in the official code: `paco` with both views as anchors and gradient through both.

    Options as in `paco`. There is no momentum encoder, although VLM-KD calls the queue a momentum queue: it holds keys
    of the same encoder; `paco` is the kind whose queue holds keys of a momentum copy. alpha of the official scripts:
    0.05 (ResNeXt, iNaturalist), 0.045 (ResNet-50 on ImageNet-LT), 0.02 (Places-LT), 0.01 (CIFAR).
    """

    kind: Literal["gpaco"] = "gpaco"
    weight: float = Field(default=1.0, ge=0)
    alpha: float = Field(
        default=0.05, ge=0, description="weight of each key of the same label; the own class's centre weighs beta"
    )
    beta: float = Field(default=1.0, gt=0, description="weight of the own class's centre")
    gamma: float = Field(default=1.0, gt=0, description="how often a key counts among the candidates")
    supt: float = Field(default=1.0, gt=0, description="divides the centres' logits")
    base_temperature: float | None = Field(
        default=None,
        gt=0,
        description="scales the loss by temperature / base_temperature; null: the temperature itself",
    )
    smooth: float = Field(
        default=0.0, ge=0, lt=1, description="share of the own centre's weight that label smoothing gives to the others"
    )
    use_prior: bool = Field(default=True, description="add log(prior + 1e-9) to the centres' logits")
    head_depth: int = Field(default=2, ge=0)

    def build(self, context: LossContext) -> "GPaCo":
        from orchestrator.losses.formulas.parametric_contrastive import GPaCo, parametric_contrastive_loss

        check_views(self.kind, context, needed=2)
        self.check_queue(context)
        options = self.model_dump(
            include={"alpha", "beta", "gamma", "supt", "smooth", "temperature", "base_temperature"}
        )
        return GPaCo(
            class_count=context.class_count,
            head=self.head_shape(context),
            queue_size=self.queue_size,
            negatives=self.negatives,
            use_prior=self.use_prior,
            formula=partial(parametric_contrastive_loss, **options),
        )
