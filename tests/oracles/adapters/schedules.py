"""Learning rates of the official codes (methods 11)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.training.learning_rate import learning_rate_factor
from orchestrator.training.schedules import (
    EpochCosineScheduleSettings,
    LivtScheduleSettings,
    OneCycleScheduleSettings,
    ScheduleSettings,
    StepScheduleSettings,
)
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters

OOD_SGD_RATE, OOD_ADAMW_RATE = 0.05, 1e-4  # methods 11, which no manifest carries


def rates(settings: ScheduleSettings, peak: float, epochs: Sequence[float], num_epochs: int) -> Tensor:
    """The rate at each of these epochs, of one step each."""
    factors = [learning_rate_factor(e, num_epochs, settings, num_epochs=num_epochs, peak=peak) for e in epochs]
    return peak * torch.tensor(factors, dtype=torch.float64)


def epoch_cosine(inputs: Inputs, parameters: Parameters) -> Outputs:
    settings = EpochCosineScheduleSettings(warmup_epochs=parameters["warmup"])
    epochs = parameters["epochs"]
    return {"lr": torch.stack([rates(settings, peak, range(epochs), epochs) for peak in inputs["base_lr"].tolist()])}


def livt(inputs: Inputs, parameters: Parameters) -> Outputs:
    settings = LivtScheduleSettings(warmup_epochs=parameters["warmup"], final_learning_rate=parameters["min_lr"])
    rate = rates(settings, parameters["lr"], inputs["epoch"].tolist(), parameters["epochs"])
    return {"lr": parameters["lr_scale"] * rate}


def ood(inputs: Inputs, parameters: Parameters) -> Outputs:
    epochs, num_epochs = inputs["epochs"].tolist(), parameters["epochs"]
    step = StepScheduleSettings(milestones=tuple(parameters["milestones"]))
    return {
        "step": rates(step, OOD_SGD_RATE, epochs, num_epochs),
        "onecycle": rates(OneCycleScheduleSettings(), OOD_ADAMW_RATE, epochs, num_epochs),
    }


ADAPTERS: dict[str, Adapter] = {
    "schedule_proco": epoch_cosine,
    "schedule_gpaco": epoch_cosine,
    "schedule_livt": livt,
    "schedule_ood": ood,
}
