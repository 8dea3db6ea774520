"""How long a student takes for a batch, on the device that it lies on.

Measures time. Reads and writes nothing.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from orchestrator.evaluation.model_size import num_parameters

WARM_UP, REPEATS = 5, 30


@torch.inference_mode()
def inference_latency(
    student: nn.Module,
    image_size: int,
    *,
    batch_sizes: Sequence[int] = (1, 32),
    threads: Sequence[int] = (1,),
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
) -> dict[str, float]:
    """Median time of a forward pass in evaluation mode on images [B, 3, image_size, image_size].

    Args:
        student: left as it was found, on its device.
        threads: numbers of CPU threads to measure with; without effect on an accelerator's own work.
        warm_up: passes before the clock starts; repeats: measured passes of each setting.

    Returns:
        for each batch size B and thread number T: `latency_ms_bB_tT`, the median of a batch in milliseconds;
        `latency_spread_ms_bB_tT`, the distance of its quartiles; `images_per_s_bB_tT`. And `num_parameters`.
    """
    assert repeats >= 2, "a spread needs two measurements"
    parameter = next(student.parameters())
    was_training = student.training
    student.eval()
    found = {"num_parameters": float(num_parameters(student))}
    try:
        for count in threads:
            with cpu_threads(count):
                for size in batch_sizes:
                    images = torch.randn(size, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
                    images = images.to(parameter.device, parameter.dtype)
                    times = [_timed_ms(student, images) for _ in range(warm_up + repeats)][warm_up:]
                    lower, median, upper = statistics.quantiles(times, n=4)
                    found[f"latency_ms_b{size}_t{count}"] = median
                    found[f"latency_spread_ms_b{size}_t{count}"] = upper - lower
                    found[f"images_per_s_b{size}_t{count}"] = 1000 * size / median
    finally:
        student.train(was_training)
    return found


def _timed_ms(student: nn.Module, images: torch.Tensor) -> float:
    _finish(images.device)
    started = time.perf_counter()
    student(images)
    _finish(images.device)
    return 1000 * (time.perf_counter() - started)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Torch works with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
