"""The learning rate of each step: a pure function of the step and the settings, so that resuming needs no state.

Reads and writes nothing. Knows nothing of optimisers.
"""

import math

from orchestrator.training.schedules import (
    CosineScheduleSettings,
    EpochCosineScheduleSettings,
    LivtScheduleSettings,
    OneCycleScheduleSettings,
    ScheduleSettings,
    StepScheduleSettings,
)


def learning_rate_factor(
    step: float, num_steps: int, settings: ScheduleSettings, *, num_epochs: int, peak: float
) -> float:
    """Share of the peak learning rate at `step` (0-based; a fraction lies between two steps) of `num_steps`.

    Args:
        num_epochs: of equally many steps each.
        peak: the learning rate of factor 1, for schedules that end at an absolute rate.
    """
    epoch = step * num_epochs // num_steps
    match settings:
        case CosineScheduleSettings():
            warmup = round(settings.warmup_fraction * num_steps)
            if step < warmup:
                return (step + 1) / warmup
            return _half_cosine((step - warmup) / max(1, num_steps - warmup), 1.0, settings.final_fraction)
        case EpochCosineScheduleSettings(warmup_epochs=warmup):
            if epoch < warmup:
                return (epoch + 1) / warmup
            return _half_cosine((epoch - warmup + 1) / (num_epochs - warmup + 1), 1.0, 0.0)
        case StepScheduleSettings(warmup_epochs=warmup):
            if epoch < warmup:
                return (epoch + 1) / warmup
            return settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
        case OneCycleScheduleSettings():
            start = 1 / settings.div_factor
            return _one_cycle(epoch, num_epochs, settings.pct_start, start, 1.0, start / settings.final_div_factor)
        case LivtScheduleSettings(warmup_epochs=warmup_epochs):
            position = step * num_epochs / num_steps  # in fractional epochs
            if position < warmup_epochs:
                return position / warmup_epochs
            progress = (position - warmup_epochs) / (num_epochs - warmup_epochs)
            return _half_cosine(progress, 1.0, settings.final_learning_rate / peak)


def cycled_momentum(step: int, num_steps: int, settings: ScheduleSettings, *, num_epochs: int) -> float | None:
    """The momentum (or beta1) at a step where the schedule cycles it, else None: the optimiser keeps its own."""
    if not isinstance(settings, OneCycleScheduleSettings) or not settings.cycle_momentum:
        return None
    high, low = settings.max_momentum, settings.base_momentum
    return _one_cycle(step * num_epochs // num_steps, num_epochs, settings.pct_start, high, low, high)


def _half_cosine(progress: float, start: float, end: float) -> float:
    """`start` at progress 0, `end` at 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(epoch: float, num_epochs: int, pct_start: float, start: float, middle: float, end: float) -> float:
    """Half a cosine from `start` to `middle`, then one to `end`, which the last epoch reaches (torch's OneCycleLR)."""
    turn, last = pct_start * num_epochs - 1, num_epochs - 1
    if epoch <= turn:
        return _half_cosine(epoch / turn if turn else 0.0, start, middle)
    return _half_cosine((epoch - turn) / (last - turn), middle, end)
