"""Where a worker computes and how its model is joined with the other workers' models.

Reads and writes nothing. Knows nothing of who started the workers: torchrun, Ray Train, or nobody but this process.
"""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orchestrator import distributed
from orchestrator.errors import ConfigError
from orchestrator.training.model import DistillationModel
from orchestrator.training.settings import TrainingSettings


def device_of_worker() -> torch.device:
    """The GPU that the driver has made current, or the CPU where there is none."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def check_workers(settings: TrainingSettings, num_workers: int) -> None:
    """Refuse a global batch that these workers cannot share equally.

    Raises:
        ConfigError: workers and micro-batches do not divide the batch.
    """
    num_shares = num_workers * settings.accumulation_steps
    if settings.batch_size % num_shares:
        raise ConfigError(
            f"training.batch_size {settings.batch_size} on {num_workers} workers"
            + (f" in {settings.accumulation_steps} micro-batches" if settings.accumulation_steps > 1 else ""),
            expected="a global batch that the workers share equally"
            + (", in each micro-batch" if settings.accumulation_steps > 1 else ""),
        )


def prepare(model: DistillationModel, settings: TrainingSettings, device: torch.device) -> DistillationModel:
    """The model on its device, with synchronised BatchNorm and a compiled student where the settings ask for them.

    Raises:
        ConfigError: BatchNorm cannot be synchronised here.
    """
    if settings.sync_batchnorm and distributed.world_size() > 1:
        if device.type != "cuda":
            raise ConfigError(
                f"training.sync_batchnorm on {distributed.world_size()} workers without GPUs",
                expected="GPUs: torch's synchronised BatchNorm has no form for the CPU",
                remedy="set sync_batchnorm: false, or a student without BatchNorm",
            )
        model = _with_synchronised_batchnorm(model)
    model = model.to(device)
    if settings.compile:
        model.compile_student()
    return model


def join(model: DistillationModel, device: torch.device) -> DistributedDataParallel:
    """The wrapper that averages the workers' gradients; the teacher is not in it: its rows come with the batch."""
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def _with_synchronised_batchnorm(model: DistillationModel) -> DistillationModel:
    """timm's conversion, which knows its own BatchNorm layers with an activation as well as torch's."""
    from timm.layers.norm_act import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(model)
    assert isinstance(converted, DistillationModel)
    return converted
