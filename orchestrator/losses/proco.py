"""Settings of ProCo: probabilistic contrast of an image's further views against the distributions of all classes.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/proco.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.projection_head import HeadSettings, check_views

if TYPE_CHECKING:
    from orchestrator.losses.formulas.proco import ProCo


class ProCoSettings(HeadSettings):
    """Du et al. 2024 as in the official code: L_scl, beside the logit-adjusted cross-entropy of view 1.

    Reads views 2 and on (the paper: two). Temperatures of the paper: 0.07 (ImageNet-LT, iNaturalist), 0.1 (CIFAR).
    `tau` and `prior_floor` are those of the logit adjustment. The head of ResNet-50 has hidden width 2048 and output
    1024 in the code (VLM-KD's appendix swaps them), on CIFAR output 128. Class statistics are those of all workers. The
    Bessel functions are exact; the official recurrence is off by up to 2.5 in the log normaliser at head_dim 8.
    """

    kind: Literal["proco"] = "proco"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)
    tau: float = Field(default=1.0, ge=0)
    prior_floor: float | None = Field(default=None, gt=0, lt=1)
    head_dim: int = Field(default=1024, ge=2)
    head_batch_norm: bool = True

    def build(self, context: LossContext) -> "ProCo":
        from orchestrator.losses.formulas.proco import ProCo

        check_views(self.kind, context, needed=2)
        absent = [label for label, count in enumerate(context.class_count) if count == 0]
        if absent and self.tau > 0 and self.prior_floor is None:
            raise ConfigError(
                f"{len(absent)} classes have no training image, so no log prior (labels {absent[:10]})",
                expected="at least one training image for each class",
                remedy="remove the classes, or set prior_floor: 1e-9 of this loss",
            )
        return ProCo(
            class_count=context.class_count,
            head=self.head_shape(context),
            temperature=self.temperature,
            tau=self.tau,
            prior_floor=self.prior_floor,
        )
