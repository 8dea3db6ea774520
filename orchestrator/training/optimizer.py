"""Optimisers and the learning rate of each step.

Reads and writes nothing. Knows nothing of losses or data.
"""

import math

import torch
from torch import nn

from orchestrator.training.settings import AdamWSettings, OptimizerSettings, ScheduleSettings


def build_optimizer(settings: OptimizerSettings, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all trainable parameters; vectors and scalars are not decayed."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if isinstance(settings, AdamWSettings):
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2))
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


def learning_rate_factor(step: int, num_steps: int, settings: ScheduleSettings) -> float:
    """Share of the peak learning rate at `step` (0-based) of `num_steps`: linear warm-up, then half a cosine."""
    warmup = round(settings.warmup_fraction * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return settings.final_fraction + (1 - settings.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
