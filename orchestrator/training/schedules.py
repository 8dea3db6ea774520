"""How the learning rate goes over a training: one settings class per schedule, and their union.

Holds settings. Reads and writes nothing; the formulas are in learning_rate.py.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.frozen import Frozen


class CosineScheduleSettings(Frozen):
    """Per step: linear warm-up over a fraction of the steps, then half a cosine to `final_fraction` of the peak."""

    kind: Literal["cosine"] = "cosine"
    warmup_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="of all steps, in which the rate rises from 0 to its peak"
    )
    final_fraction: float = Field(default=0.0, ge=0, le=1)


class EpochCosineScheduleSettings(Frozen):
    """Per epoch e of E, as ProCo, PaCo and GPaCo: (e + 1) / w in w warm-up epochs, then half a cosine.

    The factor after the warm-up is (1 + cos(pi * (e - w + 1) / (E - w + 1))) / 2: it starts a step below the peak and
    ends a step above 0, as the official codes do. Places-LT: 5 warm-up epochs, ImageNet-LT with GPaCo: 10.
    """

    kind: Literal["epoch_cosine"] = "epoch_cosine"
    warmup_epochs: int = Field(default=0, ge=0, description="epochs in which the rate rises to its peak; 0: none")


class StepScheduleSettings(Frozen):
    """Per epoch: times `gamma` from each milestone on (epochs, 0-based), after (e + 1) / w in w warm-up epochs.

    The OOD paper's ResNet-18: [30, 60] of 90 epochs. ProCo on CIFAR: [160, 180] of 200 epochs with 5 warm-up epochs,
    [360, 380] of 400 with 10.
    """

    kind: Literal["step"] = "step"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(30, 60), description="epochs from which the rate is multiplied by gamma, once more at each"
    )
    gamma: float = Field(default=0.1, gt=0, lt=1)
    warmup_epochs: int = Field(default=0, ge=0, description="epochs in which the rate rises to its peak; 0: none")

    @model_validator(mode="after")
    def _milestones_ascend(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must ascend")
        return self


class OneCycleScheduleSettings(Frozen):
    """Per epoch, torch's OneCycleLR with its defaults (the OOD paper's ViT-B/32): up to the peak and down, by cosines.

    From peak / div_factor to the peak in the first `pct_start` of the epochs, then to peak / div_factor /
    final_div_factor. `cycle_momentum` takes SGD's momentum, or AdamW's beta1, the other way: from `max_momentum` to
    `base_momentum` and back, in place of the optimiser's own value, as the official code does by torch's default.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    pct_start: float = Field(default=0.3, gt=0, lt=1)
    div_factor: float = Field(default=25.0, gt=0, description="peak over the rate that it begins with")
    final_div_factor: float = Field(
        default=1e4, gt=0, description="rate that it begins with over the one that it ends with"
    )
    cycle_momentum: bool = True
    base_momentum: float = Field(default=0.85, ge=0, lt=1)
    max_momentum: float = Field(default=0.95, ge=0, lt=1)


class LivtScheduleSettings(Frozen):
    """Per step at fractional epochs, as LiVT and MAE: linear warm-up from 0, then half a cosine to an absolute rate.

    `final_learning_rate` is told for factor 1 of layer-wise decay: a lower layer ends at its share of it.
    """

    kind: Literal["livt"] = "livt"
    warmup_epochs: float = Field(
        default=5.0, ge=0, description="epochs, perhaps a fraction of one, in which the rate rises from 0"
    )
    final_learning_rate: float = Field(default=1e-6, ge=0)


def _cosine_unless_told(value: Any) -> Any:
    return {"kind": "cosine", **value} if isinstance(value, dict) else value


ScheduleSettings = Annotated[
    CosineScheduleSettings
    | EpochCosineScheduleSettings
    | LivtScheduleSettings
    | OneCycleScheduleSettings
    | StepScheduleSettings,
    Field(discriminator="kind"),
    BeforeValidator(_cosine_unless_told),
]
