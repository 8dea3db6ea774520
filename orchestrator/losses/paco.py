"""Settings of PaCo: supervised contrast with class centres, a momentum key encoder and a queue.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/parametric_contrastive.py.
"""

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.projection_head import KeyQueueSettings, check_views

if TYPE_CHECKING:
    from orchestrator.losses.formulas.parametric_contrastive import PaCo


class PaCoSettings(KeyQueueSettings):
    """Cui et al. 2021 as in the official code: one loss for classifier and features, without a cross-entropy beside it.

    Centres are the classifier's logits of view 1, plus log(prior + 1e-9) where `use_prior`, over `supt`. Weights:
    `beta` of the own centre (shared with the others by label smoothing `smooth`), `alpha` of each key of the same
    label; keys count `gamma` times among the candidates. `base_temperature` T_base scales the loss by T / T_base; null
    is T. alpha of the official scripts: 0.05 (ImageNet-LT, iNaturalist, Places-LT), 0.01 (CIFAR). Keys are view 2
    through momentum copies of student and head (`key_momentum`); `gpaco` has one encoder for both, so choosing between
    the kinds chooses whose keys the queue holds.
    """

    kind: Literal["paco"] = "paco"
    weight: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=0.05, ge=0)
    beta: float = Field(default=1.0, gt=0)
    gamma: float = Field(default=1.0, gt=0)
    supt: float = Field(default=1.0, gt=0)
    base_temperature: float | None = Field(default=None, gt=0)
    smooth: float = Field(default=0.0, ge=0, lt=1)
    use_prior: bool = True
    head_batch_norm: bool = True
    key_momentum: float = Field(default=0.999, ge=0, le=1)

    def build(self, context: LossContext) -> "PaCo":
        from orchestrator.losses.formulas.parametric_contrastive import PaCo, parametric_contrastive_loss

        check_views(self.kind, context, needed=2)
        self.check_queue(context)
        options = self.model_dump(
            include={"alpha", "beta", "gamma", "supt", "smooth", "temperature", "base_temperature"}
        )
        return PaCo(
            class_count=context.class_count,
            head=self.head_shape(context),
            queue_size=self.queue_size,
            negatives=self.negatives,
            use_prior=self.use_prior,
            key_momentum=self.key_momentum,
            formula=partial(parametric_contrastive_loss, **options),
        )
