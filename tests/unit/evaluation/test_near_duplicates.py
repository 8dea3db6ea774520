"""Near duplicates: what a re-encoded copy keeps, and what unrelated images do not share."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchestrator.evaluation.near_duplicates import MAX_DISTANCE, difference_hash, near_pairs


def smooth_images(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Images with low spatial frequencies, as photographs have them, [N, 64, 64, 3]."""
    small = np.random.default_rng(seed).integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC)) for one in small])


def recompressed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image darker, smaller and through JPEG, at its old size."""
    stream = io.BytesIO()
    Image.fromarray((image * 0.8).astype(np.uint8)).resize((48, 48)).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream).resize((64, 64)))


def test_a_gradient_has_the_hash_of_its_direction() -> None:
    ramp = np.broadcast_to(np.arange(144, dtype=np.uint8)[None, None, :, None], (1, 64, 144, 3))
    hashes, thumbnails = difference_hash(np.concatenate([ramp, ramp[:, :, ::-1]]))
    assert hashes.tolist() == [2**64 - 1, 0]
    assert np.allclose(thumbnails[0, 0], np.arange(16) * 9 + 4, atol=0.51)


def test_copies_are_found_each_with_its_own_and_unrelated_images_are_not() -> None:
    images = smooth_images(60, seed=0)
    copies = np.stack([recompressed(image) for image in images[:20]])
    others = smooth_images(200, seed=1)
    found = list(near_pairs(difference_hash(images), difference_hash(np.concatenate([copies, others]))))
    assert [(first, second) for first, second, _, _ in found] == [(number, number) for number in range(20)]
    assert all(distance <= MAX_DISTANCE and correlation > 0.97 for _, _, distance, correlation in found)


def test_flat_images_are_no_duplicates_of_each_other() -> None:
    flat = np.full((3, 32, 32, 3), 200, np.uint8)
    assert list(near_pairs(difference_hash(flat), difference_hash(flat))) == []
