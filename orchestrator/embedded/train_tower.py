"""First step of the tiny CLIP: its image tower learns to name every attribute of a scene, one linear head for each.

A small CNN learns the attributes from labels in minutes, from captions alone in hours; the heads are dropped
afterwards. Reads the scene pool; writes nothing (returns the trained timm network, an average of its weights over the
last steps). Knows nothing of texts.
"""

import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.datasets import shapes_grammar as grammar
from orchestrator.datasets.shapes_grammar import Scene

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": grammar.SHAPES,
    "colour": grammar.COLOURS,
    "texture": grammar.TEXTURES,
    "part": grammar.PARTS,
    "size": grammar.SIZES,
    "place": grammar.PLACES,
    "background": grammar.BACKGROUNDS,
    "neighbour": grammar.NEIGHBOURS,
}
HEAD_WEIGHTS = (2.0, 1.0, 1.5, 1.5, 0.5, 0.5, 0.25, 0.5)  # shape is by far the hardest, background learns itself
MEAN = (0.45, 0.42, 0.38)
STD = (0.25, 0.25, 0.25)


def value_indices(scene: Scene) -> list[int]:
    """Position of the scene's value in each entry of ATTRIBUTES."""
    a = scene.attributes
    values = (a.shape, a.colour, a.texture, a.part, scene.size, scene.place, scene.background, scene.neighbour)
    return [known.index(value) for known, value in zip(ATTRIBUTES.values(), values, strict=True)]


def to_input(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, 64, 64, 3] to normalised float32 [N, 3, 64, 64] in channels_last memory."""
    images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    return images.div_(255).sub_(torch.tensor(MEAN).view(1, 3, 1, 1)).div_(torch.tensor(STD).view(1, 3, 1, 1))


def train_tower(
    name: str,
    pixels: NDArray[np.uint8],
    values: Tensor,
    *,
    epochs: float,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    seed: int = 0,
    progress: Callable[[int, int, str], None],
) -> tuple[nn.Module, nn.Module]:
    """Train timm network `name` on pixels uint8 [N, 64, 64, 3], values int64 [N, 8]; the averaged network and heads."""
    torch.manual_seed(seed)
    trunk = timm.create_model(name, num_classes=0)
    head = nn.Linear(trunk.num_features, sum(map(len, ATTRIBUTES.values())))
    model = nn.Sequential(trunk, head).to(memory_format=torch.channels_last)
    average = deepcopy(model).eval()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    total = int(len(pixels) * epochs) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total, pct_start=0.15)
    rng = np.random.default_rng(seed)
    order: list[int] = []
    started, sizes = time.monotonic(), [len(v) for v in ATTRIBUTES.values()]
    for step in range(total):
        if len(order) < batch_size:
            order = rng.permutation(len(pixels)).tolist()
        rows = np.sort(order[:batch_size])
        del order[:batch_size]
        images = to_input(pixels[rows])
        if rng.random() < 0.5:
            images = images.flip(3)
        parts = model(images).split(sizes, 1)
        target = values[torch.from_numpy(rows)]
        losses = [nn.functional.cross_entropy(p, target[:, i]) for i, p in enumerate(parts)]
        loss = sum((w * part for w, part in zip(HEAD_WEIGHTS, losses, strict=True)), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _average(average, model, min(0.998, (1 + step) / (10 + step)))
        if step % 50 == 0 or step + 1 == total:
            speed = (step + 1) * batch_size / (time.monotonic() - started)
            progress(
                step + 1, total, f"shape {losses[0]:.2f} colour {losses[1]:.2f} all {loss:.2f} {speed:.0f} images/s"
            )
    return average[0], average[1]


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


@torch.no_grad()
def attribute_accuracy(
    trunk: nn.Module, head: nn.Module, pixels: NDArray[np.uint8], values: Tensor
) -> dict[str, float]:
    """Share of right argmax answers for each attribute on unseen scenes."""
    sizes = [len(v) for v in ATTRIBUTES.values()]
    outputs = torch.cat([head(trunk(to_input(pixels[i : i + 256]))) for i in range(0, len(pixels), 256)])
    right = [(p.argmax(1) == values[:, i]).float().mean().item() for i, p in enumerate(outputs.split(sizes, 1))]
    return dict(zip(ATTRIBUTES, right, strict=True))
