"""The other workers: how many there are, which one this is, everybody's rows and sums.

Holds functions over torch.distributed; without a process group they are those of a single process. Reads and writes
nothing. Knows nothing of who made the process group.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of workers; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this worker, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_gather(tensor: Tensor) -> Tensor:
    """The rows of all workers, [world_size * N, ...], in the order of their ranks; every worker must bring N rows.

    The gradient of a worker's rows is the sum of what all workers' losses say about them. So if each worker's loss is
    world_size times its share of a joint loss, DDP's averaged gradient is that of the joint loss in one process.
    """
    if world_size() == 1:
        return tensor
    if tensor.requires_grad:
        gathered: Tensor = _AllGather.apply(tensor)
        return gathered
    return _gather(tensor)


def sum_over_workers(tensor: Tensor) -> Tensor:
    """The element-wise sum over all workers, on the tensor's own device; without gradient."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().to(_device_of_collectives(tensor)).clone()
    dist.all_reduce(total)
    return total.to(tensor.device)


def texts_of_workers(text: str) -> list[str]:
    """What every worker has to say, in the order of their ranks."""
    if world_size() == 1:
        return [text]
    said: list[str] = [""] * world_size()
    dist.all_gather_object(said, text)
    return said


def broadcast_buffers(module: nn.Module) -> None:
    """Give every worker worker 0's buffers (running statistics of BatchNorm), in place."""
    if world_size() == 1:
        return
    for buffer in module.buffers():
        values = buffer.detach().to(_device_of_collectives(buffer)).contiguous()
        dist.broadcast(values, src=0)
        buffer.detach().copy_(values)


def barrier() -> None:
    """Wait for all workers."""
    if world_size() > 1:
        dist.barrier()


def _device_of_collectives(tensor: Tensor) -> torch.device:
    """NCCL moves only what is on a GPU."""
    if dist.get_backend() == "nccl" and tensor.device.type == "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    return tensor.device


def _gather(tensor: Tensor) -> Tensor:
    own = tensor.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return torch.cat(parts)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.num_rows = len(tensor)
        return _gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.num_rows : (rank() + 1) * ctx.num_rows]
