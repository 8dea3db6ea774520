"""Corruptions: deterministic by image, growing with severity, each by its closed form; accuracies under them."""

import numpy as np
import pytest

from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from orchestrator.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from orchestrator.evaluation.robustness import robustness


def scenes(count: int) -> np.ndarray:
    return np.stack([render(scene_of(5, "test", n, random_attributes(5, "test", n))) for n in range(count)])


def ids(count: int) -> list[str]:
    return [f"image/{n}" for n in range(count)]


def error(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square(before.astype(float) - after).mean())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_severity_is_farther_from_the_image(kind: str) -> None:
    images = scenes(6)
    errors = [error(images, corrupt(images, ids(6), kind, severity)) for severity in SEVERITIES]
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert len(set(errors)) == len(SEVERITIES)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_batch(kind: str) -> None:
    images = scenes(5)
    whole = corrupt(images, ids(5), kind, 3)
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
    np.testing.assert_array_equal(corrupt(images[3:], ids(5)[3:], kind, 3), whole[3:])


def test_noise_is_of_the_seed_the_image_and_the_severity_and_has_the_told_deviation() -> None:
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    first, second = corrupt(grey, ids(2), "gaussian_noise", 1).astype(float)
    other_seed = corrupt(grey, ids(2), "gaussian_noise", 1, seed=1)[0].astype(float)
    other_severity = corrupt(grey, ids(2), "gaussian_noise", 2)[0].astype(float)
    assert (first - 128).std() / 255 == pytest.approx(0.08, rel=0.03)
    for other in (second, other_seed, other_severity):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05


def test_contrast_shrinks_the_distance_to_the_mean_and_keeps_it() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :4] = 200
    np.testing.assert_array_equal(np.unique(corrupt(image, ["a"], "contrast", 1)), [60, 140])  # 100 -/+ 0.4 x 100


def test_brightness_raises_the_value_at_the_same_hue_and_saturation() -> None:
    image = np.zeros((1, 1, 2, 3), np.uint8)
    image[0, 0, 0] = (100, 50, 0)
    bright = corrupt(image, ["a"], "brightness", 2)[0, 0]
    np.testing.assert_array_equal(bright[0], (151, 76, 0))  # 100 + 51, and half of it
    np.testing.assert_array_equal(bright[1], (51, 51, 51))  # black


def test_pixelation_leaves_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    found = corrupt(image, ["a"], "pixelate", 5)[0]  # a quarter of the side: blocks of 4 x 4
    blocks = found.reshape(16, 4, 16, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    np.testing.assert_allclose(blocks[:, 0, :, 0], image.reshape(16, 4, 16, 4, 3).mean((1, 3)), atol=1)


def test_blur_scales_with_the_side() -> None:
    def width(side: int) -> float:
        line = np.zeros((1, side, side, 3), np.uint8)
        line[:, :, side // 2] = 255
        profile = corrupt(line, ["a"], "gaussian_blur", 5)[0, side // 2, :, 0].astype(float)
        place = np.arange(side) - side // 2
        return float(np.sqrt((profile * place**2).sum() / profile.sum())) / side

    assert width(224) == pytest.approx(6 / 224, rel=0.05)
    assert width(112) == pytest.approx(width(224), rel=0.05)


def test_accuracies_are_means_over_severities_and_kinds() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[2:] = 90  # dark and grey; brightness 1 adds 26, 2 adds 51
    label = np.array([0, 0, 1, 1])
    found = robustness(
        lambda pixels: (pixels.mean((1, 2, 3)) > 50).astype(np.int64),
        images,
        label,
        ids(4),
        kinds=["brightness", "contrast"],
        severities=[1, 2],
        batch_size=3,
    )
    assert found["clean_acc"] == 1
    assert (found["brightness_1_acc"], found["brightness_2_acc"]) == (1, 0.5)  # black at 51 passes the threshold
    assert found["brightness_acc"] == 0.75
    assert found["contrast_acc"] == 1
    assert found["mean_corruption_acc"] == 0.875
    assert found["corruption_drop"] == 0.125
