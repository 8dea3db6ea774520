"""What a worker whose memory ran out tells: how many images it held at once, how many fit, which settings to change.

Reads the allocators of torch; writes nothing. Knows nothing of models: it is given something to try.
"""

import gc
from collections.abc import Callable

import torch

from orchestrator.errors import OutOfMemoryError
from orchestrator.training.settings import TrainingSettings

Attempt = Callable[[int], None]  # a training step on so many of the batch's images
SAID_BY_CPU = ("can't allocate memory", "not enough memory", "std::bad_alloc")
KEPT_FREE = 0.9  # share of the memory that an estimate counts on: allocators split it, and lose some


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator raised this: of a GPU, of torch on the CPU, or Python's own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in SAID_BY_CPU)


def num_images_that_fit(num_images: int, device: torch.device, attempt: Attempt | None) -> int:
    """Images a worker can hold at once, by trying halves; on a GPU then more, by what the half that fits has taken.

    Args:
        num_images: that did not fit.
        attempt: None: nothing is tried, because other workers would wait: half of them, on trust.

    Returns:
        0 where not even two images fit.
    """
    tried = num_images // 2
    if attempt is None:
        return tried
    while tried >= 2:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        if _succeeds(attempt, tried):
            break
        tried //= 2
    if tried < 2 or device.type != "cuda":
        return tried if tried >= 2 else 0
    fixed, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    free, _ = torch.cuda.mem_get_info(device)
    available = free + torch.cuda.memory_reserved(device)
    return max(tried, min(num_images - 1, estimate(available, fixed=fixed, peak=peak, num_tried=tried)))


def estimate(available: int, *, fixed: int, peak: int, num_tried: int) -> int:
    """Images that fit into `available` bytes, when weights, gradients and optimiser hold `fixed` of them.

    `peak` is what a step on `num_tried` images took at most; memory beyond `fixed` is taken to grow with the images.
    """
    per_image = max(1.0, (peak - fixed) / num_tried)
    return max(0, int((KEPT_FREE * available - fixed) / per_image))


def _succeeds(attempt: Attempt, num_images: int) -> bool:
    try:
        attempt(num_images)
    except Exception:  # memory, or what a cut batch does besides: either way it does not train
        return False
    return True


def out_of_memory(
    said: str,
    settings: TrainingSettings,
    *,
    step: int,
    num_images: int,
    num_workers: int,
    num_fitting: int,
    tried: bool,
) -> OutOfMemoryError:
    """The error, with the settings that make a worker hold no more than `num_fitting` images at once."""
    steps = settings.accumulation_steps
    changes = []
    if num_fitting:
        if (more := _accumulation(settings.batch_size, num_workers, num_fitting, above=steps)) is not None:
            changes.append(
                f"training.accumulation_steps: {more} (the same step of the optimiser; what compares images sees "
                f"{settings.batch_size // more} of them)"
            )
        changes.append(f"training.batch_size: {num_fitting * num_workers * steps}")
    if settings.precision in ("fp32", "tf32"):
        changes.append("training.precision: bf16 (about half the memory of an image)")
    changes.append("a smaller student or image_size")
    fits = f"{num_fitting} fit" if tried else f"{num_fitting} may fit (not tried: other workers would wait)"
    return OutOfMemoryError(
        f"out of memory at step {step} with {num_images} images per worker at once (training.batch_size "
        f"{settings.batch_size}, {num_workers} workers, {steps} micro-batches): {said.splitlines()[0]}",
        expected=f"a batch per worker that fits: {fits if num_fitting else 'not even 2 images do'}",
        remedy=", or ".join(changes),
    )


def _accumulation(batch_size: int, num_workers: int, num_fitting: int, *, above: int) -> int | None:
    """The fewest micro-batches above `above` of which a worker's share fits; None where none divides the batch."""
    for steps in range(above + 1, batch_size // num_workers + 1):
        if batch_size % (steps * num_workers) == 0 and batch_size // (steps * num_workers) <= num_fitting:
            return steps
    return None
