"""Views of images: shift, flip, brightness and contrast drawn as a function of (data seed, image, view).

Drawing a view and rendering it are apart: parameters know no resolution, so that the student's stored pixels and the
picture that its teacher sees are rendered by one function from the same draws. Reads and writes nothing. Knows nothing
of files or labels. Source: methods 16.8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.training import augmentations
from orchestrator.training.augmentations import AugmentedParameters, draw_augmented, render_augmented
from orchestrator.training.draws import uniform_draws
from orchestrator.training.view_settings import AugmentedViews, ShiftViews, ViewSettings

Reals = npt.NDArray[np.float64]
MEAN, STD = 0.5, 0.25  # of pixels scaled to 0..1; one pair for every data set keeps students comparable


@dataclass(frozen=True)
class ShiftParameters:
    """What makes a view of each of n images, in units that know no resolution.

    Attributes:
        shift_y, shift_x: [n] float64, where the view looks: fractions of the side, positive = down, right.
        flipped: [n] bool, mirrored left to right after the shift.
        brightness: [n] float64 added to pixels of 0..1, or None: nothing is added.
        contrast: [n] float64, factor of the distance to middle grey, applied after brightness, or None.
    """

    shift_y: Reals
    shift_x: Reals
    flipped: npt.NDArray[np.bool_]
    brightness: Reals | None = None
    contrast: Reals | None = None

    def names(self) -> list[str]:
        """The parameters of each image as text, exactly: two views of one picture are equal when their names are."""
        count = len(self.flipped)
        light = np.zeros(count) if self.brightness is None else self.brightness
        contrast = np.ones(count) if self.contrast is None else self.contrast
        columns = (self.shift_y, self.shift_x, self.flipped, light, contrast)
        return [f"{y!r} {x!r} {f:d} {b!r} {c!r}" for y, x, f, b, c in zip(*(c.tolist() for c in columns), strict=True)]

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Self:
        """The inverse of `names`."""
        y, x, flipped, light, contrast = np.array([name.split() for name in names], np.float64).reshape(-1, 5).T
        return cls(
            y, x, flipped.astype(bool), light if light.any() else None, contrast if (contrast != 1).any() else None
        )


ViewParameters = ShiftParameters | AugmentedParameters


def parameters_of_names(names: Sequence[str]) -> ViewParameters:
    """The parameters that `names` of either kind tells; all of one kind."""
    augmented = names[0].startswith(augmentations.WORD)
    return AugmentedParameters.of_names(names) if augmented else ShiftParameters.of_names(names)


def view_id(epoch: int, *, slot: int = 0, num_views: int = 0) -> int:
    """Which view of an image an epoch shows (methods 16.8).

    Args:
        epoch: 0-based.
        slot: of the views that an epoch shows of each image; 0 is the one that classifies and that a teacher sees.
        num_views: views for which the teacher's outputs are kept, which are then replayed in slot 0; 0: none.
    """
    return slot * (1 << 32) + (epoch % num_views if num_views and slot == 0 else epoch)


def draw_parameters(
    keys: npt.NDArray[np.uint64], settings: ViewSettings, side: int, data_seed: int, view: int
) -> ViewParameters:
    """The parameters of one view of each image.

    Args:
        keys: [n] keys of the images.
        side: of the student's images, in whose pixels `settings.pad` is told.
        view: the view id (see `view_id`).
    """
    if isinstance(settings, AugmentedViews):
        return draw_augmented(keys, settings, data_seed, view)
    return _draw_shift(keys, settings, side, data_seed, view)


def _draw_shift(
    keys: npt.NDArray[np.uint64], settings: ShiftViews, side: int, data_seed: int, view: int
) -> ShiftParameters:
    span = 2 * settings.pad + 1

    def draw(number: int) -> Reals:
        return uniform_draws(keys, data_seed, view, number)

    shift_y = ((draw(0) * span).astype(np.int64) - settings.pad) / side
    shift_x = ((draw(1) * span).astype(np.int64) - settings.pad) / side
    flipped = draw(2) < 0.5 if settings.flip else np.zeros(len(keys), bool)
    brightness = (2 * draw(3) - 1) * settings.brightness if settings.brightness > 0 else None
    contrast = 1 + (2 * draw(4) - 1) * settings.contrast if settings.contrast > 0 else None
    return ShiftParameters(shift_y, shift_x, flipped, brightness, contrast)


def render_views(pixels: npt.NDArray[np.uint8], parameters: ViewParameters, side: int | None = None) -> torch.Tensor:
    """The views as the student's input, at whatever resolution the pixels have.

    Args:
        pixels: [N, R, R, 3] uint8.
        side: S of the views; None: R. Shifted views are not scaled, so there S is R.

    Returns:
        [N, 3, S, S] float32, scaled by (x / 255 - 0.5) / 0.25, not clipped.
    """
    if isinstance(parameters, AugmentedParameters):
        pictures = render_augmented(pixels, parameters, side or pixels.shape[1])
        return augmentations.erase(scale_pixels(pictures), parameters)
    assert side in (None, pixels.shape[1]), "shifted views are as large as what they are cut of"
    images = scale_pixels(_move(pixels, parameters))
    if parameters.brightness is not None:
        images += torch.from_numpy((parameters.brightness / STD).astype(np.float32)).view(-1, 1, 1, 1)
    if parameters.contrast is not None:
        images *= torch.from_numpy(parameters.contrast.astype(np.float32)).view(-1, 1, 1, 1)
    return images


def render_pixels(pixels: npt.NDArray[np.uint8], parameters: ViewParameters) -> npt.NDArray[np.uint8]:
    """The same views as pictures, which is what a teacher takes: [N, S, S, 3] uint8, clipped to 0..255 and rounded."""
    if isinstance(parameters, AugmentedParameters):
        return render_augmented(pixels, parameters, pixels.shape[1])
    if parameters.brightness is None and parameters.contrast is None:
        return _move(pixels, parameters)  # what the line below gives, without the way through floats
    return to_pixels(render_views(pixels, parameters))


def _move(pixels: npt.NDArray[np.uint8], parameters: ShiftParameters) -> npt.NDArray[np.uint8]:
    """Shift by whole pixels, repeating the edge, then flip.

    Image by image, whole pixels at a time: what stays in sight is one copy of a block, and the edge is repeated beside
    and then above or below it. Looking up rows and columns took 2.9 times as long at 64 pixels, one gather over all of
    a batch longer still.
    """
    side, moved = pixels.shape[1], np.empty(pixels.shape, np.uint8)
    farthest = side - 1  # from where on only the edge is in sight
    shift_y, shift_x = (
        np.clip(np.rint(shift * side).astype(np.int64), -farthest, farthest).tolist()
        for shift in (parameters.shift_y, parameters.shift_x)
    )
    sources, targets = (of.view("V3")[..., 0] for of in (np.ascontiguousarray(pixels), moved))
    for source, target, y, x, flipped in zip(
        sources, targets, shift_y, shift_x, parameters.flipped.tolist(), strict=True
    ):
        shown = target[:, ::-1] if flipped else target
        top, bottom, left, right = max(0, -y), min(side, side - y), max(0, -x), min(side, side - x)
        shown[top:bottom, left:right] = source[top + y : bottom + y, left + x : right + x]
        shown[top:bottom, :left] = shown[top:bottom, left : left + 1]
        shown[top:bottom, right:] = shown[top:bottom, right - 1 : right]
        shown[:top], shown[bottom:] = shown[top], shown[bottom - 1]
    return moved


def draw_views(
    pixels: npt.NDArray[np.uint8],
    keys: npt.NDArray[np.uint64],
    settings: ViewSettings,
    data_seed: int,
    view: int,
    side: int | None = None,
) -> torch.Tensor:
    """Training views: `render_views` of `draw_parameters`.

    Args:
        pixels: [N, R, R, 3] uint8, what views are cut of.
        keys: [N] keys of the images.
        side: S of the student's images; None: R.

    Returns:
        [N, 3, S, S] float32, scaled by (x / 255 - 0.5) / 0.25.
    """
    return render_views(pixels, draw_parameters(keys, settings, side or pixels.shape[1], data_seed, view), side)


def scale_pixels(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """[N, S, S, 3] uint8 -> [N, 3, S, S] float32 in channels-last memory, scaled by (x / 255 - 0.5) / 0.25."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).to(torch.float32)
    return images.mul_(1 / (255 * STD)).sub_(MEAN / STD)


def to_pixels(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The inverse of `scale_pixels`, clipped to what 8 bits hold and rounded: [N, 3, S, S] -> [N, S, S, 3] uint8."""
    levels = (images * (255 * STD) + 255 * MEAN).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())
