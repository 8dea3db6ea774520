"""A small vision transformer that taught itself, without labels or texts: DINO.

After Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021 (self-distillation with a
momentum copy, centring and sharpening, two large crops and some small ones). No change of hue among the views: colour
tells classes apart here. Writes a transformers folder (`ViTModel`, class token). Knows nothing of scenes or classes.
"""

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_render import SIZE
from orchestrator.embedded.optimizing import Progress, optimise
from orchestrator.embedded.train_tower import MEAN, STD, to_input

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE, CENTRE_MOMENTUM = 0.1, 0.04, 0.9
LARGE, SMALL, NUM_SMALL = (0.5, 1.0), (0.15, 0.5), 2  # share of the area; small crops are half as wide
PROTOTYPES = 512


def crops(images: Tensor, area: tuple[float, float], side: int, generator: torch.Generator) -> Tensor:
    """A random crop of each image [n, 3, S, S], side x side, perhaps mirrored, of other brightness and contrast."""
    count = len(images)
    drawn = torch.rand(count, 6, generator=generator)
    scale = (area[0] + (area[1] - area[0]) * drawn[:, 0]).sqrt()
    shift = (1 - scale)[:, None] * (2 * drawn[:, 1:3] - 1)
    flip = torch.where(drawn[:, 3] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flip, scale, shift
    grid = nn.functional.affine_grid(theta, [count, 3, side, side], align_corners=False)
    cut = nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    contrast = (0.7 + 0.6 * drawn[:, 4]).view(-1, 1, 1, 1)
    return cut * contrast + (0.6 * drawn[:, 5] - 0.3).view(-1, 1, 1, 1)


class _Head(nn.Module):
    """Class token -> scores of prototypes: a bottleneck, made unit, against unit prototypes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 64))
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, 64) * 0.02)

    def forward(self, token: Tensor) -> Tensor:
        unit = nn.functional.normalize(self.inner(token), dim=-1)
        return unit @ nn.functional.normalize(self.prototypes, dim=-1).T


class _Network(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.backbone, self.head = build_vit(width, layers), _Head(width)

    def forward(self, images: Tensor) -> Tensor:
        passed = self.backbone(pixel_values=images, interpolate_pos_encoding=images.shape[-1] != SIZE)
        scores: Tensor = self.head(passed.last_hidden_state[:, 0])
        return scores


def build_vit(width: int, layers: int) -> Any:
    """The untrained transformer: 64 pixels in patches of 8, a class token, no pooler."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=SIZE, patch_size=8, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False)


def dino_loss(student: list[Tensor], teacher: list[Tensor], centre: Tensor) -> Tensor:
    """Mean cross-entropy of every student view with every large teacher view other than itself (DINO, Eq. 3)."""
    losses = []
    for at, given in enumerate(teacher):
        target = ((given - centre) / TEACHER_TEMPERATURE).softmax(-1)
        for other, scores in enumerate(student):
            if other != at:
                losses.append(-(target * (scores / STUDENT_TEMPERATURE).log_softmax(-1)).sum(-1).mean())
    return torch.stack(losses).mean()


def train_dino(
    folder: Path,
    pixels: Any,
    *,
    steps: int,
    width: int = 128,
    layers: int = 4,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress,
) -> None:
    """Train on pixels uint8 [N, 64, 64, 3] and write the momentum copy, which is the better one, into the folder."""
    torch.manual_seed(seed)
    student = _Network(width, layers)
    teacher = copy.deepcopy(student).requires_grad_(False)
    centre = torch.zeros(PROTOTYPES)
    generator = torch.Generator().manual_seed(seed)

    def loss_of(rows: Tensor, step: int) -> Tensor:
        nonlocal centre
        images = to_input(pixels[rows.numpy()]).contiguous()
        large = [crops(images, LARGE, SIZE, generator) for _ in range(2)]
        small = [crops(images, SMALL, SIZE // 2, generator) for _ in range(NUM_SMALL)]
        with torch.no_grad():
            given = teacher(torch.cat(large)).chunk(2)
        seen = [*student(torch.cat(large)).chunk(2), *student(torch.cat(small)).chunk(NUM_SMALL)]
        loss = dino_loss(seen, list(given), centre)
        centre = CENTRE_MOMENTUM * centre + (1 - CENTRE_MOMENTUM) * torch.cat(given).mean(0)
        return loss

    @torch.no_grad()
    def follow(step: int) -> None:
        momentum = 1 - (1 - 0.99) * (1 + math.cos(math.pi * step / steps)) / 2
        for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
            kept.lerp_(new, 1 - momentum)

    optimise(
        student.parameters(), loss_of, num_scenes=len(pixels), steps=steps, batch_size=batch_size, learning_rate=1e-3,
        seed=seed, after_step=follow, progress=progress,
    )  # fmt: skip
    teacher.backbone.eval().save_pretrained(folder)
    save_processor(folder)


def save_processor(folder: Path) -> None:
    """The image processor of a vision transformer of the embedded world: 64 pixels, its mean and deviation."""
    from transformers import ViTImageProcessor

    side = {"height": SIZE, "width": SIZE}
    ViTImageProcessor(size=side, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
