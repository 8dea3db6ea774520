"""The papers' augmentation recipes as functions of (data seed, image, view).

Crop and flip know no resolution, so a teacher that looks at a larger picture sees the same view; the steps after them
draw from generators seeded by image and view, whose state is given back. Reads and writes nothing. Knows nothing of
files or labels. Sources: methods 16.1 (ProCo, GPaCo), 1.11 (OOD paper), 11 (LiVT).
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torchvision import transforms

from orchestrator.training.draws import uniform_draws
from orchestrator.training.view_settings import AugmentedViews

Step = Callable[[Image.Image], Image.Image]
Reals = npt.NDArray[np.float64]
BICUBIC = Image.Resampling.BICUBIC
WORD = "augmented"  # begins the name of such a view's parameters
CROP_AREA, CROP_ASPECT, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
NOT_FLIPPED = frozenset({"ood_vit"})
_lock = threading.Lock()  # the libraries' generators are the process's


@dataclass(frozen=True)
class AugmentedParameters:
    """What makes a view of each of n images.

    Attributes:
        recipe: name of the recipe.
        boxes: [n, 4] float64, the crop: top, left, height, width as fractions of the side; may begin outside (cifar).
        flipped: [n] bool.
        seeds: [n] uint64 of the steps after crop and flip.
    """

    recipe: str
    boxes: Reals
    flipped: npt.NDArray[np.bool_]
    seeds: npt.NDArray[np.uint64]

    def names(self) -> list[str]:
        """The parameters of each image as text, exactly: two views of one picture are equal when their names are."""
        rows = zip(self.boxes.tolist(), self.flipped.tolist(), self.seeds.tolist(), strict=True)
        return [f"{WORD} {self.recipe} {' '.join(map(repr, box))} {f:d} {seed}" for box, f, seed in rows]

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Self:
        """The inverse of `names`."""
        cells = [name.split() for name in names]
        return cls(
            cells[0][1],
            np.array([row[2:6] for row in cells], np.float64),
            np.array([row[6] == "1" for row in cells]),
            np.array([int(row[7]) for row in cells], np.uint64),
        )


def draw_augmented(
    keys: npt.NDArray[np.uint64], settings: AugmentedViews, data_seed: int, view: int
) -> AugmentedParameters:
    """The parameters of one view of each image; `keys` [n] are those of the images."""

    def draw(number: int) -> Reals:
        return uniform_draws(keys, data_seed, view, number)

    count = len(keys)
    if settings.recipe == "cifar":  # a shift by up to 4 of 32 pixels, zeros beyond the edge
        shift = np.stack([np.floor(draw(number) * 9) - 4 for number in (0, 1)], axis=1) / 32
        boxes = np.concatenate([shift, np.ones((count, 2))], axis=1)
    else:
        boxes = _crops(count, draw)
    flipped = draw(2) < 0.5 if settings.recipe not in NOT_FLIPPED else np.zeros(count, bool)
    seeds = (draw(3) * float(1 << 32)).astype(np.uint64)
    return AugmentedParameters(settings.recipe, boxes, flipped, seeds)


def _crops(count: int, draw: Callable[[int], Reals]) -> Reals:
    """Crops of a random area and aspect; where ten do not fit into the square, the whole of it."""
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (count, 1))
    found = np.zeros(count, bool)
    for attempt in range(TRIES):
        first = 16 + 4 * attempt
        area = CROP_AREA[0] + draw(first) * (CROP_AREA[1] - CROP_AREA[0])
        low, high = np.log(CROP_ASPECT)
        aspect = np.exp(low + draw(first + 1) * (high - low))
        width, height = np.sqrt(area * aspect), np.sqrt(area / aspect)
        fits = ~found & (width <= 1) & (height <= 1)
        top, left = draw(first + 2) * (1 - height), draw(first + 3) * (1 - width)
        boxes[fits] = np.stack([top, left, height, width], axis=1)[fits]
        found |= fits
        if found.all():
            break
    return boxes


def render_augmented(
    pixels: npt.NDArray[np.uint8], parameters: AugmentedParameters, side: int
) -> npt.NDArray[np.uint8]:
    """The views as pictures [N, side, side, 3] uint8 of frames [N, R, R, 3] uint8 (erasing is left to `erase`)."""
    made = np.empty((len(pixels), side, side, 3), np.uint8)
    before, after = _steps(parameters.recipe, pixels.shape[1]), _steps_after(parameters.recipe, side)
    with _own_generators() as seed:
        for row, frame in enumerate(pixels):
            seed(int(parameters.seeds[row]))
            image = Image.fromarray(frame)
            for step in before:
                image = step(image)
            image = _cut(image, parameters.boxes[row], side)
            if parameters.flipped[row]:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            for step in after:
                image = step(image)
            made[row] = np.asarray(image, np.uint8)
    return made


def erase(images: torch.Tensor, parameters: AugmentedParameters) -> torch.Tensor:
    """Fill a rectangle of a quarter of the images with noise (LiVT; only the student's view); in place."""
    if parameters.recipe == "livt":
        eraser = RandomErasing(0.25, mode="pixel", device="cpu")
        with _own_generators() as seed:
            for row, number in enumerate(parameters.seeds.tolist()):
                seed(int(number) + 1)
                images[row] = eraser(images[row])
    return images


def _cut(image: Image.Image, box: Reals, side: int) -> Image.Image:
    """The crop at `side`, bicubic; what lies beyond the picture is black."""
    top, left, height, width = (float(value) * image.size[0] for value in box)
    if top >= 0 and left >= 0 and top + height <= image.size[1] + 1e-6 and left + width <= image.size[0] + 1e-6:
        right, bottom = min(left + width, image.size[0]), min(top + height, image.size[1])
        return image.resize((side, side), BICUBIC, box=(left, top, right, bottom))
    moved = Image.new("RGB", image.size)
    moved.paste(image, (-round(left), -round(top)))
    return moved if moved.size == (side, side) else moved.resize((side, side), BICUBIC)


@lru_cache(maxsize=64)
def _steps(recipe: str, side: int) -> tuple[Step, ...]:
    """Steps before the crop."""
    return (transforms.RandAugment(2, 9),) if recipe == "ood_vit" else ()


@lru_cache(maxsize=64)
def _steps_after(recipe: str, side: int) -> tuple[Step, ...]:
    """Steps after crop and flip, at this side."""
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.0)
    with_hue = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    grey = transforms.RandomGrayscale(0.2)
    blur = transforms.RandomApply(
        [transforms.GaussianBlur(2 * (side // 20) + 1, (0.1 * side / 224, 2.0 * side / 224))], p=0.5
    )
    hints: dict[str, Any] = {"translate_pct": 0.45, "img_mean": (128, 128, 128)}
    # below 10, at which posterizing keeps no bit, which Pillow refuses
    of_livt = {**hints, "interpolation": BICUBIC, "magnitude_max": 9.99}
    strong = rand_augment_transform("rand-m10-n2-mstd0.5", hints)
    steps: dict[str, tuple[Step, ...]] = {
        "randcls": (jitter, strong),
        "sim_aug": (with_hue, grey),
        "sim": (jitter, grey, blur),
        "randclsstack": (jitter, grey, blur, strong),
        "randclsstack_proco": (with_hue, grey, strong),
        "cifar": (transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10), lambda image: _hole(image, side // 2)),
        "livt": (rand_augment_transform("rand-m9-mstd0.5-inc1", of_livt),),
    }
    return steps.get(recipe, ())


def _hole(image: Image.Image, side: int) -> Image.Image:
    """A black square around a random point, cut off at the edges (cut-out)."""
    left, top = (int(random.random() * size) - side // 2 for size in image.size)  # the same place at every size
    holed = image.copy()
    holed.paste((0, 0, 0), (left, top, left + side, top + side))
    return holed


@contextlib.contextmanager
def _own_generators() -> Iterator[Callable[[int], None]]:
    """A function that seeds python's, numpy's and torch's generators; their states are given back at the end.

    Of torch it is the CPU's generator alone: `torch.manual_seed` would seed those of the GPUs too, for good.
    """

    def seed(number: int) -> None:
        random.seed(number)
        np.random.seed(number % (1 << 32))
        torch.default_generator.manual_seed(number)

    with _lock:
        kept, kept_numpy, kept_torch = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
        try:
            yield seed
        finally:
            random.setstate(kept)
            np.random.set_state(kept_numpy)
            torch.default_generator.set_state(kept_torch)
