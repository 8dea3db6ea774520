"""What the trainings of the extra teachers share: one optimiser step after another, on scenes drawn at random.

Reads and writes nothing. Knows nothing of single models.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

Progress = Callable[[int, int, str], None]
Rows = Tensor  # [n] int64 positions of scenes


def optimise(
    parameters: Iterable[nn.Parameter],
    loss_of: Callable[[Rows, int], Tensor],
    *,
    num_scenes: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.05,
    seed: int = 0,
    after_step: Callable[[int], None] = lambda step: None,
    progress: Progress,
) -> None:
    """AdamW with a tenth of warm-up and a cosine, gradients clipped at norm 1.

    Args:
        loss_of: (positions of scenes, step) -> loss.
        after_step: called with the step that was just taken (a momentum copy follows here).
    """
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    generator = np.random.default_rng(seed)
    started, smooth = time.monotonic(), 0.0
    for step in range(steps):
        rows = torch.from_numpy(np.sort(generator.choice(num_scenes, min(batch_size, num_scenes), replace=False)))
        loss = loss_of(rows, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        after_step(step)
        smooth = loss.item() if step == 0 else 0.95 * smooth + 0.05 * loss.item()
        if step % 10 == 0 or step + 1 == steps:
            progress(step + 1, steps, f"loss {smooth:.3f}, {(step + 1) / (time.monotonic() - started):.2f} steps/s")
