"""A student's predictions on a split, counted by class.

Reads nothing itself (pixels may be memory-mapped). Knows nothing of training.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator.training.views import scale_pixels

BATCH_SIZE = 256


@torch.inference_mode()
def count_correct(
    student: nn.Module, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], num_classes: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Right and all predictions by class, [C] int64 each, over all workers (each takes every num_workers-th image).

    Args:
        student: images [N, 3, S, S] -> (logits [N, C], feature); raw logits decide (no prior: methods 2.1).
        pixels: [N, S, S, 3] uint8.
        labels: [N].
    """
    device = next(student.parameters()).device
    was_training = student.training
    distributed.broadcast_buffers(student)
    student.eval()
    correct, total = torch.zeros(num_classes, dtype=torch.int64), torch.zeros(num_classes, dtype=torch.int64)
    rows = np.arange(distributed.rank(), len(labels), distributed.world_size())
    for start in range(0, len(rows), BATCH_SIZE):
        part = rows[start : start + BATCH_SIZE]
        logits: Tensor = student(scale_pixels(pixels[part]).to(device))[0]
        truth = torch.from_numpy(labels[part])
        correct += torch.bincount(truth[logits.argmax(1).cpu() == truth], minlength=num_classes)
        total += torch.bincount(truth, minlength=num_classes)
    student.train(was_training)
    return distributed.sum_over_workers(correct).numpy(), distributed.sum_over_workers(total).numpy()
