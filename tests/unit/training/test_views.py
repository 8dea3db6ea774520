"""Views: a function of data seed, image and view id, whatever else is in the batch, at any resolution."""

import hashlib

import numpy as np
import pytest
import torch

from orchestrator.training.draws import image_keys, uniform_draws
from orchestrator.training.view_settings import ShiftViews
from orchestrator.training.views import (
    ShiftParameters,
    draw_parameters,
    draw_views,
    parameters_of_names,
    render_pixels,
    render_views,
    scale_pixels,
    to_pixels,
    view_id,
)

NUM, SIDE = 40, 12
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM, SIDE, SIDE, 3), np.uint8)
KEYS = image_keys([f"train/{number}.png" for number in range(NUM)])
FULL = ShiftViews(pad=3, flip=True, brightness=0.2, contrast=0.3)


def test_a_view_does_not_depend_on_the_rest_of_the_batch() -> None:
    together = draw_views(PIXELS, KEYS, FULL, 5, 2)
    rows = np.array([17, 3, 30])
    assert torch.equal(draw_views(PIXELS[rows], KEYS[rows], FULL, 5, 2), together[rows])
    for row in (0, 17, NUM - 1):
        assert torch.equal(draw_views(PIXELS[[row]], KEYS[[row]], FULL, 5, 2)[0], together[row])


def test_another_view_seed_or_image_is_another_picture() -> None:
    first = draw_views(PIXELS, KEYS, FULL, 5, 2)
    for other in (draw_views(PIXELS, KEYS, FULL, 5, 3), draw_views(PIXELS, KEYS, FULL, 6, 2)):
        assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    same_pixels = np.repeat(PIXELS[:1], NUM, axis=0)
    views = draw_views(same_pixels, KEYS, FULL, 5, 2)
    assert len({view.numpy().tobytes() for view in views}) == NUM


def test_without_shift_and_flip_a_view_is_the_scaled_image() -> None:
    views = draw_views(PIXELS, KEYS, ShiftViews(pad=0, flip=False), 5, 2)
    expected = (torch.from_numpy(PIXELS).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    torch.testing.assert_close(views.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(views, scale_pixels(PIXELS))


def test_a_flip_mirrors_left_and_right_for_about_half_of_the_images() -> None:
    views = draw_views(PIXELS, KEYS, ShiftViews(pad=0, flip=True), 5, 2)
    plain, mirrored = scale_pixels(PIXELS), scale_pixels(PIXELS[:, :, ::-1])
    flipped = [torch.equal(view, other) for view, other in zip(views, mirrored, strict=True)]
    kept = [torch.equal(view, other) for view, other in zip(views, plain, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 10 <= sum(flipped) <= 30  # binomial(40, 1/2): outside with probability 0.1 %


def test_a_shift_moves_by_at_most_the_pad_and_repeats_the_edge() -> None:
    pad = 2
    views = draw_views(PIXELS, KEYS, ShiftViews(pad=pad, flip=False), 5, 2)
    padded = np.pad(PIXELS, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    shifts = []
    for view, image in zip(views, padded, strict=True):
        found = [
            (y, x)
            for y in range(2 * pad + 1)
            for x in range(2 * pad + 1)
            if torch.equal(view, scale_pixels(image[None, y : y + SIDE, x : x + SIDE])[0])
        ]
        assert len(found) == 1
        shifts += found
    assert len(set(shifts)) > 12  # of 25 possible ones


def test_brightness_and_contrast_stay_within_their_bounds_and_keep_the_picture() -> None:
    plain = scale_pixels(PIXELS)
    bright = draw_views(PIXELS, KEYS, ShiftViews(pad=0, flip=False, brightness=0.2), 5, 2) - plain
    assert bright.flatten(1).std(dim=1).max() < 1e-5
    assert 0.5 < bright.abs().max() <= 0.2 / 0.25 + 1e-5
    contrast = draw_views(PIXELS, KEYS, ShiftViews(pad=0, flip=False, contrast=0.3), 5, 2)
    factors = (contrast.flatten(1) * plain.flatten(1)).sum(1) / plain.flatten(1).square().sum(1)
    torch.testing.assert_close(contrast, plain * factors.view(-1, 1, 1, 1), rtol=1e-5, atol=1e-5)
    assert 0.7 - 1e-5 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.3 + 1e-5


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    keys = image_keys([str(number) for number in range(20_000)])
    first, second = uniform_draws(keys, 1, 2, 0), uniform_draws(keys, 1, 2, 1)
    for draws in (first, second):
        assert ((draws >= 0) & (draws < 1)).all()
        counts = np.histogram(draws, bins=20, range=(0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-squared, 19 degrees of freedom, 0.1 %
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.023  # 3.3 / sqrt(20,000)
    assert abs(np.corrcoef(first, uniform_draws(keys, 1, 3, 0))[0, 1]) < 0.023


@pytest.mark.parametrize("names", [["a", "b"], ["train/1.png", "train/2.png"]])
def test_keys_are_those_of_the_names(names: list[str]) -> None:
    assert image_keys(names).tolist() == [int(image_keys([name])[0]) for name in names]
    assert len(set(image_keys(names).tolist())) == len(names)


# Of the renderer with which the recorded evidence was made: other bytes would be other evidence.
DIGESTS = {
    "evidence": (ShiftViews(pad=6, flip=True), "5209fe297b4f5988849ce7c975de99f5"),
    "tiny_imagenet_lt": (ShiftViews(pad=8, brightness=0.1, contrast=0.2), "d0dc599e551496329e63a3b8795b9b8d"),
    "wide": (ShiftViews(pad=3, flip=False, brightness=0.5, contrast=1.0), "4ec5b4f363023b7f2b3f4c585a465129"),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_bytes_of_a_view_are_those_of_the_published_figures(name: str) -> None:
    settings, expected = DIGESTS[name]
    pixels = np.random.default_rng(2024).integers(0, 256, (24, 64, 64, 3), np.uint8)
    keys = image_keys([f"train/class_{number % 5}/{number:04d}.png" for number in range(24)])
    digest = hashlib.blake2b(digest_size=16)
    for data_seed, view in ((0, 0), (0, 34), (3, 7), (2**40, 1)):
        digest.update(np.ascontiguousarray(draw_views(pixels, keys, settings, data_seed, view).numpy()).tobytes())
    assert digest.hexdigest() == expected


def parameters(y: float = 0, x: float = 0, flipped: bool = False) -> ShiftParameters:
    return ShiftParameters(np.array([y]), np.array([x]), np.array([flipped]))


def test_a_picture_is_shifted_flipped_and_lit_as_its_parameters_say() -> None:
    image = PIXELS[:1]
    assert np.array_equal(render_pixels(image, parameters()), image)
    assert np.array_equal(render_pixels(image, parameters(flipped=True)), image[:, :, ::-1])
    down = render_pixels(image, parameters(y=3 / SIDE))  # the view looks three pixels further down
    assert np.array_equal(down[:, :-3], image[:, 3:])
    assert np.array_equal(down[:, -3:], np.repeat(image[:, -1:], 3, axis=1))
    left = render_pixels(image, parameters(x=-2 / SIDE, flipped=True))[:, :, ::-1]  # flipped after the shift
    assert np.array_equal(left[:, :, 2:], image[:, :, :-2])
    assert np.array_equal(left[:, :, :2], np.repeat(image[:, :, :1], 2, axis=2))
    lit = ShiftParameters(np.zeros(1), np.zeros(1), np.zeros(1, bool), np.array([0.1]), np.array([1.5]))
    expected = ((image / 255 + 0.1) - 0.5) * 1.5 + 0.5
    assert np.abs(render_pixels(image, lit) - np.clip(expected * 255, 0, 255)).max() <= 0.5 + 1e-3


def test_a_larger_picture_shows_the_same_view() -> None:
    drawn = draw_parameters(KEYS, FULL, SIDE, 5, 2)
    for times in (2, 5):
        larger = PIXELS.repeat(times, axis=1).repeat(times, axis=2)
        assert np.array_equal(
            render_pixels(larger, drawn), render_pixels(PIXELS, drawn).repeat(times, axis=1).repeat(times, axis=2)
        )


def test_the_teachers_picture_is_the_students_input_rounded_to_8_bits() -> None:
    assert np.array_equal(to_pixels(scale_pixels(PIXELS)), PIXELS)
    for settings in (FULL, ShiftViews(pad=3)):
        drawn = draw_parameters(KEYS, settings, SIDE, 5, 2)
        student, teacher = render_views(PIXELS, drawn), scale_pixels(render_pixels(PIXELS, drawn))
        assert torch.equal(student, draw_views(PIXELS, KEYS, settings, 5, 2))
        inside = student.abs() <= 2  # 0..1 in units of (x - 0.5) / 0.25; beyond, a picture is clipped
        assert float((student - teacher)[inside].abs().max()) <= 0.5 / (255 * 0.25) + 1e-5
        assert torch.equal(teacher[~inside].sign() * 2, teacher[~inside])


@pytest.mark.parametrize("settings", [FULL, ShiftViews(), ShiftViews(pad=0, flip=False), ShiftViews(contrast=1)])
def test_parameters_as_text_say_exactly_what_is_rendered(settings: ShiftViews) -> None:
    drawn = draw_parameters(KEYS, settings, SIDE, 5, 2)
    assert parameters_of_names(drawn.names()).names() == drawn.names()
    for row in (0, 7, 31):
        alone = parameters_of_names(drawn.names()[row : row + 1])
        assert torch.equal(render_views(PIXELS[row : row + 1], alone)[0], render_views(PIXELS, drawn)[row])


def test_the_view_id_counts_epochs_and_slots_and_returns_after_the_views_that_are_kept() -> None:
    assert [view_id(epoch) for epoch in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [view_id(epoch, num_views=4) for epoch in range(6)] == [0, 1, 2, 3, 0, 1]
    second = [view_id(epoch, slot=1, num_views=4) for epoch in range(6)]
    assert len({*second, *range(6)}) == 12  # no teacher sees it, so it is a new one each time, and never that of slot 0
    assert [view_id(epoch, num_views=1) for epoch in range(3)] == [0, 0, 0]
