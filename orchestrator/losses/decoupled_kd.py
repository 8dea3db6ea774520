"""Settings of decoupled knowledge distillation.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/decoupled_kd.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.decoupled_kd import DecoupledKD


class DecoupledKDSettings(Frozen):
    """T^2 [target_weight * KL on (label, rest) + non_target_weight * KL among the rest]: Zhao et al. 2022.

    The weights are its alpha and beta, at mdistiller's values for CIFAR-100. Of mixed images, which the paper does not
    treat, the values at both labels are mixed by the images' shares.
    """

    kind: Literal["decoupled_kd"] = "decoupled_kd"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=4.0, gt=0)
    target_weight: float = Field(default=1.0, ge=0, description="alpha of the paper: of the KL on (label, all others)")
    non_target_weight: float = Field(
        default=8.0, ge=0, description="beta of the paper: of the KL among the other classes"
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.target_weight == 0 and self.non_target_weight == 0:
            raise ValueError("target_weight and non_target_weight are both 0: remove the loss, or set its weight to 0")
        return self

    def build(self, context: LossContext) -> "DecoupledKD":
        from orchestrator.losses.formulas.decoupled_kd import DecoupledKD

        if context.num_classes < 2:
            raise ConfigError("decoupled_kd needs a class besides the label", expected="2 or more classes")
        return DecoupledKD(
            temperature=self.temperature,
            target_weight=self.target_weight,
            non_target_weight=self.non_target_weight,
        )
