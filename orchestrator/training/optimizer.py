"""Optimisers: their parameter groups, and the rates of each step.

Reads and writes nothing. Knows nothing of losses or data.
"""

from collections.abc import Sequence

import torch
from torch import nn

from orchestrator.training.learning_rate import cycled_momentum, learning_rate_factor
from orchestrator.training.parameters import learning_rate_scales, never_decayed
from orchestrator.training.schedules import ScheduleSettings
from orchestrator.training.settings import AdamWSettings, OptimizerSettings


def build_optimizer(settings: OptimizerSettings, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all trainable parameters, with one group for each learning rate and weight decay.

    Vectors and scalars, and what the backbone excludes itself, are not decayed; with `decay_all` only scalars are not.

    Raises:
        ConfigError: a pattern matches nothing, or the backbone tells no layers for `layer_decay`.
    """
    scales = learning_rate_scales(model, scales=settings.learning_rate_scales, layer_decay=settings.layer_decay)
    for beginning, rate in getattr(model, "own_rates", {}).items():
        for name in scales:
            scales[name] *= rate / settings.learning_rate if name.startswith(beginning) else 1.0
    excluded = set() if settings.decay_all else never_decayed(model)
    smallest_ndim = 1 if settings.decay_all else 2
    members: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= smallest_ndim and name not in excluded
            members.setdefault((scales[name], decayed), []).append(parameter)
    groups = [
        {
            "params": parameters,
            "lr": settings.learning_rate * scale,
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (scale, decayed), parameters in members.items()
    ]
    optimizer: torch.optim.Optimizer
    if isinstance(settings, AdamWSettings):  # one kernel: of a ResNet-18 32 ms a step on one core, 94 ms without
        betas = (settings.beta1, settings.beta2)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True)
    else:
        optimizer = torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov, fused=True
        )
    optimizer.register_step_pre_hook(_lie_alike)
    return optimizer


def _lie_alike(optimizer: torch.optim.Optimizer, _arguments: object, _options: object) -> None:
    """Lay gradients and what the optimiser remembers out in memory as their parameters are (channels-last or not).

    torch's one-kernel optimisers walk all of them by address, and where they lie differently they mix up elements and
    say nothing. autograd and `torch.save` keep it so; whoever sets a gradient or a state by hand may not.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.ndim < 2 or parameter.grad is None:
                continue
            wanted, state = _strides(parameter), optimizer.state[parameter]
            if _strides(parameter.grad) != wanted:
                parameter.grad = _laid_out_as(parameter, parameter.grad)
            for name, kept in state.items():
                if isinstance(kept, torch.Tensor) and kept.ndim and _strides(kept) != wanted:
                    state[name] = _laid_out_as(parameter, kept)


def _laid_out_as(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _strides(tensor: torch.Tensor) -> list[int]:
    """Strides of the dimensions that have more than one place; those of the others mean nothing."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def set_rates(
    optimizer: torch.optim.Optimizer,
    peaks: Sequence[float],
    schedule: ScheduleSettings,
    *,
    step: int,
    num_steps: int,
    num_epochs: int,
    peak: float,
) -> None:
    """Give each group its learning rate at this step, and the momentum where the schedule cycles it.

    Args:
        peaks: learning rate of each group at factor 1.
        peak: of the parameters without a factor of their own.
    """
    factor = learning_rate_factor(step, num_steps, schedule, num_epochs=num_epochs, peak=peak)
    momentum = cycled_momentum(step, num_steps, schedule, num_epochs=num_epochs)
    for group, highest in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = highest * factor
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum
