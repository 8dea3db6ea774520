"""Corrupted copies of images, made on the fly: six kinds in five severities.

Deterministic: a function of (seed, image id, kind, severity) and the pixels. Reads and writes nothing. The kinds follow
Hendrycks and Dietterich 2019 (ImageNet-C); what is a length is told for a side of 224 pixels and scales with the side,
so that a small image loses the same share of its picture. Noise is per pixel and JPEG quality is as it is, at any side.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
SEVERITIES: Final = (1, 2, 3, 4, 5)
_SIDE = 224
_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, of pixels 0..1
_BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation in pixels of a 224 image
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # factor of the distance to the image's mean
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV, 0..1
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the side that is left
_JPEG = (25, 18, 15, 10, 7)  # quality


def corrupt(pixels: Pixels, image_ids: Sequence[str], kind: str, severity: int, seed: int = 0) -> Pixels:
    """Corrupted copies of images.

    Args:
        pixels: [N, S, S, 3] uint8.
        image_ids: [N]; the same image gets the same noise in any batch.
        kind: one of CORRUPTIONS.
        severity: 1..5.
        seed: of the noise.

    Returns:
        [N, S, S, 3] uint8.
    """
    assert severity in SEVERITIES
    assert len(pixels) == len(image_ids)
    change = CORRUPTIONS[kind]
    return np.stack(
        [
            change(image, severity - 1, _generator(f"{seed}/{kind}/{severity}/{name}"))
            for image, name in zip(pixels, image_ids, strict=True)
        ]
    )


def _generator(name: str) -> np.random.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _as_pixels(image: npt.NDArray[np.floating]) -> Pixels:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    return _as_pixels(image / 255 + generator.normal(0, _NOISE[level], image.shape))


def _gaussian_blur(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    from scipy.ndimage import gaussian_filter

    sigma = _BLUR[level] * image.shape[0] / _SIDE
    return _as_pixels(gaussian_filter(image / 255, (sigma, sigma, 0), mode="nearest"))


def _contrast(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    scaled = image / 255
    mean = scaled.mean((0, 1))
    return _as_pixels((scaled - mean) * _CONTRAST[level] + mean)


def _brightness(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    """Value + c at the same hue and saturation: all three channels grow by one factor; black becomes grey."""
    scaled = image / 255
    value = scaled.max(-1, keepdims=True)
    brighter = np.minimum(value + _BRIGHTNESS[level], 1)
    return _as_pixels(np.where(value > 0, scaled * brighter / np.where(value > 0, value, 1), brighter))


def _pixelate(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    from PIL import Image

    side = image.shape[0]
    small = max(1, round(side * _PIXELATE[level]))
    picture = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
    return np.asarray(picture.resize((side, side), Image.Resampling.NEAREST))


def _jpeg(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    from PIL import Image

    with io.BytesIO() as stream:
        Image.fromarray(image).save(stream, "JPEG", quality=_JPEG[level])
        return np.asarray(Image.open(stream).convert("RGB"))


CORRUPTIONS: Final[dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]]] = {
    "gaussian_noise": _gaussian_noise,
    "gaussian_blur": _gaussian_blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
