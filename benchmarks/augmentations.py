"""Recipes of views against a bare torchvision pipeline of the same steps: one thread, interleaved, medians.

Prints, for each recipe and side, images/s of both and their ratio. The bare pipeline draws from the process's
generators, as a data loader does; ours draws each view as a function of (data seed, image, view). Both begin with
pixels in memory and end with a scaled batch of tensors. `--recipes sim livt` and `--sides 64` choose some.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torchvision import transforms as T

from orchestrator.training.draws import image_keys
from orchestrator.training.view_settings import AugmentedViews, Recipe
from orchestrator.training.views import draw_views

BATCH, WARMUP = 32, 2
BICUBIC = T.InterpolationMode.BICUBIC


def bare(recipe: str, side: int) -> Callable[[Image.Image], torch.Tensor]:
    """The recipe as torchvision and timm users write it."""
    crop = [T.RandomResizedCrop(side, (0.08, 1), interpolation=BICUBIC)]
    flip = [T.RandomHorizontalFlip()]
    jitter = [T.ColorJitter(0.4, 0.4, 0.4, 0.0)]
    hue = [T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)]
    grey = [T.RandomGrayscale(0.2)]
    blur = [T.RandomApply([T.GaussianBlur(2 * (side // 20) + 1, (0.1 * side / 224, 2.0 * side / 224))], p=0.5)]
    hints: dict[str, Any] = {"img_mean": (128, 128, 128)}
    strong = [rand_augment_transform("rand-m10-n2-mstd0.5", dict(hints))]
    of_livt = [rand_augment_transform("rand-m9-mstd0.5-inc1", {**hints, "interpolation": 3, "magnitude_max": 9.99})]
    tensor = [T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)]
    hole = [T.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0))]  # of the same area, without leaving the picture
    steps: dict[str, list[Any]] = {
        "randcls": [*crop, *flip, *jitter, *strong, *tensor],
        "sim_aug": [*crop, *flip, *hue, *grey, *tensor],
        "sim": [*crop, *flip, *jitter, *grey, *blur, *tensor],
        "randclsstack": [*crop, *flip, *jitter, *grey, *blur, *strong, *tensor],
        "randclsstack_proco": [*crop, *flip, *hue, *grey, *strong, *tensor],
        "cifar": [T.RandomCrop(side, side // 8), *flip, T.AutoAugment(T.AutoAugmentPolicy.CIFAR10), *tensor, *hole],
        "ood_resnet": [*crop, *flip, *tensor],
        "ood_vit": [T.RandAugment(2, 9), *crop, *tensor],
        "livt": [*crop, *flip, *of_livt, *tensor, RandomErasing(0.25, mode="pixel", device="cpu")],
    }
    composed: Callable[[Image.Image], torch.Tensor] = T.Compose(steps[recipe])
    return composed


def measure(recipe: Recipe, side: int, rounds: int) -> tuple[float, float]:
    """(our images/s, theirs), medians over interleaved batches."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    keys, settings, theirs = (
        image_keys([str(row) for row in range(BATCH)]),
        AugmentedViews(recipe=recipe),
        bare(recipe, side),
    )
    ours_s, theirs_s = [], []
    for number in range(rounds + WARMUP):
        started = time.perf_counter()
        draw_views(pixels, keys, settings, 0, number)
        between = time.perf_counter()
        torch.stack([theirs(Image.fromarray(frame)) for frame in pixels])
        ended = time.perf_counter()
        if number >= WARMUP:
            ours_s.append(between - started)
            theirs_s.append(ended - between)
    return BATCH / statistics.median(ours_s), BATCH / statistics.median(theirs_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(get_args(Recipe)))
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 224])
    parser.add_argument("--rounds", type=int, default=12)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)
    for side in chosen.sides:
        for recipe in chosen.recipes:
            ours, theirs = measure(recipe, side, chosen.rounds)
            print(
                f"{side:>4} px {recipe:<19} {ours:>6.0f} images/s, bare {theirs:>6.0f}, ratio {ours / theirs:.2f}",
                flush=True,
            )
    print(f"medians of {chosen.rounds} interleaved batches of {BATCH}, one thread")


if __name__ == "__main__":
    main()
