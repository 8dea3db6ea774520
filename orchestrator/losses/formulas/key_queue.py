"""The keys of the last batches with their labels: first in, first out.

Holds the queue as buffers, so that a checkpoint has it. Reads and writes nothing; the keys of other workers come from
distributed.all_gather. Knows nothing of the loss that reads it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator import distributed


class KeyQueue(nn.Module):
    """K vectors [K, D] with their labels [K], the same on every worker.

    The start values are those of the official codes (PaCo, GPaCo): normal numbers made unit over the first axis, so the
    rows are short (about sqrt(D / K)) and not unit, with random labels. Real keys have replaced them after K images.
    """

    vectors: Tensor
    labels: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("vectors", F.normalize(torch.randn(size, dim), dim=0))
        self.register_buffer("labels", torch.randint(0, num_classes, (size,)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def behind(self, keys: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and labels [M + K] of this step's loss: these M, then the queue as it is, which is a constant."""
        return torch.cat([keys, self.vectors.to(keys.dtype)]), torch.cat([labels, self.labels])

    @torch.no_grad()
    def push(self, keys: Tensor, labels: Tensor) -> None:
        """Put the keys of all workers, in rank order, in the place of the oldest ones; wraps round."""
        size = len(self.vectors)
        if size == 0:
            return
        keys, labels = distributed.all_gather(keys.detach())[-size:], distributed.all_gather(labels)[-size:]
        place = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.vectors[place] = keys.to(self.vectors.dtype)
        self.labels[place] = labels
        self.pointer.copy_((self.pointer + len(keys)) % size)
