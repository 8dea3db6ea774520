"""The papers' recipes: functions of (data seed, image, view), at any resolution, with the steps the papers list."""

import random
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision import transforms

from orchestrator.training.augmentations import AugmentedParameters, erase, render_augmented
from orchestrator.training.draws import image_keys
from orchestrator.training.view_settings import AugmentedViews, Recipe
from orchestrator.training.views import draw_parameters, draw_views, parameters_of_names, render_pixels, scale_pixels

NUM, SIDE = 24, 32
GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (NUM, SIDE, SIDE, 3), np.uint8)
KEYS = image_keys([f"train/{number}.png" for number in range(NUM)])
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
each_recipe = pytest.mark.parametrize("recipe", get_args(Recipe))
without_erasing = pytest.mark.parametrize("recipe", [name for name in get_args(Recipe) if name != "livt"])


def smooth(side: int, count: int = NUM) -> npt.NDArray[np.uint8]:
    """Pictures of four cells by four, bicubic in between: the same at every side but for rounding."""
    cells = np.random.default_rng(7).integers(20, 236, (count, 4, 4, 3), np.uint8)
    large = [Image.fromarray(cell).resize((512, 512), Image.Resampling.BICUBIC) for cell in cells]
    return np.stack([np.asarray(image.resize((side, side), Image.Resampling.BOX)) for image in large])


def one(recipe: str, seed: int, *, flipped: bool = False) -> AugmentedParameters:
    """The steps after crop and flip alone, or the flip."""
    return AugmentedParameters(recipe, WHOLE, np.array([flipped]), np.array([seed], np.uint64))


@each_recipe
def test_a_view_does_not_depend_on_the_rest_of_the_batch_or_on_what_was_drawn_before(recipe: Recipe) -> None:
    settings = AugmentedViews(recipe=recipe)
    together = draw_views(PIXELS, KEYS, settings, 5, 2)
    random.seed(8)
    np.random.seed(8)
    torch.manual_seed(8)
    rows = np.array([17, 3, 20])
    assert torch.equal(draw_views(PIXELS[rows], KEYS[rows], settings, 5, 2), together[rows])
    assert torch.equal(draw_views(PIXELS[[20]], KEYS[[20]], settings, 5, 2)[0], together[20])


@each_recipe
def test_another_view_seed_or_image_is_another_picture(recipe: Recipe) -> None:
    settings = AugmentedViews(recipe=recipe)
    first = draw_views(PIXELS, KEYS, settings, 5, 2)
    for other in (draw_views(PIXELS, KEYS, settings, 5, 3), draw_views(PIXELS, KEYS, settings, 6, 2)):
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    alike = draw_views(np.repeat(PIXELS[:1], NUM, axis=0), KEYS, settings, 5, 2)
    assert len({view.numpy().tobytes() for view in alike}) == NUM


def seed_all() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)


@each_recipe
def test_the_generators_of_the_process_are_given_back_as_they_were(recipe: Recipe) -> None:
    seed_all()
    expected = random.random(), np.random.random(), float(torch.rand(()))
    seed_all()
    draw_views(PIXELS[:3], KEYS[:3], AugmentedViews(recipe=recipe), 5, 2)
    assert (random.random(), np.random.random(), float(torch.rand(()))) == expected


def test_the_generators_are_given_back_when_a_picture_cannot_be_made() -> None:
    torch.manual_seed(3)
    expected = float(torch.rand(()))
    torch.manual_seed(3)
    with pytest.raises(IndexError):
        render_augmented(PIXELS[:2], one("sim", 1), SIDE)  # parameters of one image for two
    assert float(torch.rand(())) == expected


@each_recipe
def test_parameters_as_text_say_exactly_what_is_rendered(recipe: Recipe) -> None:
    drawn = draw_parameters(KEYS, AugmentedViews(recipe=recipe), SIDE, 5, 2)
    assert parameters_of_names(drawn.names()).names() == drawn.names()
    whole = render_pixels(PIXELS, drawn)
    for row in (0, 7, 21):
        alone = parameters_of_names(drawn.names()[row : row + 1])
        assert np.array_equal(render_pixels(PIXELS[row : row + 1], alone)[0], whole[row])


@each_recipe
def test_a_larger_picture_shows_the_same_view(recipe: Recipe) -> None:
    small, large = smooth(64), smooth(256)
    drawn, other = (draw_parameters(KEYS, AugmentedViews(recipe=recipe), 64, 5, view) for view in (2, 3))
    seen = render_pixels(large, drawn).astype(np.float64).reshape(NUM, 16, 16, 16, 16, 3).mean((2, 4))

    def distance(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        coarse = pixels.astype(np.float64).reshape(NUM, 16, 4, 16, 4, 3).mean((2, 4))
        return np.asarray(np.abs(coarse - seen).mean((1, 2, 3)))

    same, different = distance(render_pixels(small, drawn)), distance(render_pixels(small, other))
    # levels of 255; a shear or posterizing at another resolution moves single pixels, so not all agree to the bit
    assert np.median(same) < 3
    assert same.max() < 20
    assert np.median(different) > 10 * np.median(same)


@without_erasing
def test_views_cut_of_a_frame_have_the_students_size_and_are_what_a_teacher_sees_of_it(recipe: Recipe) -> None:
    frames, settings = smooth(128), AugmentedViews(recipe=recipe)
    student = draw_views(frames, KEYS, settings, 5, 2, 64)
    assert student.shape == (NUM, 3, 64, 64)
    teacher = render_pixels(frames, draw_parameters(KEYS, settings, 64, 5, 2))
    shrunk = [np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BOX)) for one in teacher]
    apart = (student - scale_pixels(np.stack(shrunk))).abs().mean((1, 2, 3)) * 255 * 0.25
    assert float(apart.median()) < 4


def test_crops_have_the_papers_areas_and_aspects_and_lie_inside() -> None:
    keys = image_keys([str(number) for number in range(4000)])
    drawn = draw_parameters(keys, AugmentedViews(recipe="ood_resnet"), SIDE, 1, 0)
    assert isinstance(drawn, AugmentedParameters)
    top, left, height, width = drawn.boxes.T
    assert (drawn.boxes[:, :2] >= 0).all()
    assert (top + height <= 1 + 1e-12).all()
    assert (left + width <= 1 + 1e-12).all()
    area, aspect = height * width, width / height
    assert area.min() == pytest.approx(0.08, abs=0.005)
    assert area.max() > 0.97
    assert aspect.min() == pytest.approx(3 / 4, abs=0.01)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.01)
    torch.manual_seed(0)
    square = torch.zeros(3, 1000, 1000)
    theirs = [transforms.RandomResizedCrop.get_params(square, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(2000)]
    areas = np.array([height * width / 1e6 for _, _, height, width in theirs])
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(area, quantile) == pytest.approx(np.quantile(areas, quantile), abs=0.03)
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.02)
    assert drawn.flipped.mean() == pytest.approx(0.5, abs=0.03)
    plain = draw_parameters(keys, AugmentedViews(recipe="ood_vit"), SIDE, 1, 0)
    assert isinstance(plain, AugmentedParameters)
    assert not plain.flipped.any()


def test_crop_and_flip_alone_are_the_crop_of_pillow_mirrored() -> None:
    box = np.array([[0.25, 0.5, 0.5, 0.25]])  # top, left, height, width
    parameters = AugmentedParameters("ood_resnet", box, np.array([True]), np.zeros(1, np.uint64))
    expected = Image.fromarray(PIXELS[0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(16, 8, 24, 24))
    assert np.array_equal(render_pixels(PIXELS[:1], parameters)[0], np.asarray(expected)[:, ::-1])
    assert np.array_equal(render_pixels(PIXELS[:1], one("ood_resnet", 9)), PIXELS[:1])


# --- steps ------------------------------------------------------------------------------------------------------------


def after(recipe: str, picture: npt.NDArray[np.uint8], count: int = 300) -> npt.NDArray[np.float64]:
    """[count, S, S, 3]: one picture after the recipe's steps, with other seeds."""
    seeds = range(1000, 1000 + count)
    return np.stack([render_pixels(picture[None], one(recipe, seed))[0] for seed in seeds]).astype(np.float64)


def is_grey(made: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((np.ptp(made, axis=3) == 0).all((1, 2)))


def test_grey_and_colour_come_with_their_probabilities() -> None:
    picture = smooth(16, 1)[0]
    plain = picture.astype(np.float64)
    grey = {recipe: is_grey(after(recipe, picture)).mean() for recipe in ("sim", "sim_aug", "randcls", "ood_resnet")}
    assert grey["sim"] == pytest.approx(0.2, abs=0.08)  # 3.3 standard errors of 300 draws
    assert grey["sim_aug"] == pytest.approx(0.2, abs=0.08)
    assert grey["ood_resnet"] == 0
    assert grey["randcls"] < 0.05  # RandAugment may take the colour away, rarely
    untouched = (after("sim_aug", picture) == plain).all((1, 2, 3)).mean()
    assert untouched == pytest.approx(0.2 * 0.8, abs=0.07)  # neither jitter (p 0.8) nor grey (p 0.2)
    assert not (after("sim", picture) == plain).all((1, 2, 3)).any()  # its jitter always comes


def test_jitter_without_hue_keeps_the_hue_and_simaug_does_not() -> None:
    red = np.full((8, 8, 3), (200, 60, 60), np.uint8)  # green = blue stays so under brightness, contrast, saturation
    for recipe, moves in (("sim", False), ("sim_aug", True)):
        made = after(recipe, red, 60)
        assert bool((np.abs(made[..., 1] - made[..., 2]) > 2).any()) is moves


def test_blur_comes_in_half_of_the_views_and_its_width_follows_the_side() -> None:
    for side in (64, 224):
        picture = np.zeros((side, side, 3), np.uint8)
        picture[:, side // 2 :] = 200
        made = after("sim", picture, 100)[:, side // 2, :, 0]
        low, high = made.min(1, keepdims=True), made.max(1, keepdims=True)
        share = (made - low) / (high - low)
        width = ((share > 0.02) & (share < 0.98)).sum(1)  # 4.1 sigma of an edge
        if side == 224:  # a sigma below 0.25 pixels is not seen: a twelfth of them there, a third at 64
            assert (width > 0).mean() == pytest.approx(0.5 * 11 / 12, abs=0.16)
        assert 4.1 * 2 * side / 224 * 0.5 < width.max() <= 4.1 * 2 * side / 224 + 2


def test_the_hole_of_the_cifar_recipe_is_half_the_side_around_a_point_and_cut_off_at_the_edges() -> None:
    from orchestrator.training.augmentations import _hole

    white = Image.fromarray(np.full((32, 32, 3), 255, np.uint8))
    sizes = []
    for seed in range(400):
        random.seed(seed)
        hole = (np.asarray(_hole(white, 16)) == 0).all(2)
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns  # a rectangle
        sizes.append((rows, columns))
    assert {size for size, _ in sizes} == set(range(8, 17))
    # centres are uniform over 32 positions, of which 17 leave the whole of 16
    assert np.mean([rows == 16 for rows, _ in sizes]) == pytest.approx(17 / 32, abs=0.09)


def test_the_cifar_crop_is_a_shift_by_an_eighth_with_black_beyond() -> None:
    keys = image_keys([str(number) for number in range(2000)])
    drawn = draw_parameters(keys, AugmentedViews(recipe="cifar"), 32, 1, 0)
    assert isinstance(drawn, AugmentedParameters)
    pixels = np.rint(drawn.boxes[:, :2] * 32)
    assert np.array_equal(np.unique(pixels), np.arange(-4, 5))
    parameters = AugmentedParameters(
        "ood_resnet", np.array([[4 / 32, -2 / 32, 1, 1]]), np.zeros(1, bool), np.zeros(1, np.uint64)
    )
    seen = render_pixels(PIXELS[:1], parameters)[0]
    assert np.array_equal(seen[:-4, 2:], PIXELS[0][4:, :-2])
    assert not seen[-4:].any()
    assert not seen[:, :2].any()


def test_erasing_fills_a_rectangle_of_a_quarter_of_the_students_views_with_noise() -> None:
    keys = image_keys([str(number) for number in range(400)])
    drawn = draw_parameters(keys, AugmentedViews(recipe="livt"), 16, 1, 0)
    assert isinstance(drawn, AugmentedParameters)
    plain = torch.zeros(400, 3, 16, 16)
    erased = erase(plain.clone(), drawn)
    changed = (erased != 0).any(1)
    assert changed.flatten(1).any(1).float().mean() == pytest.approx(0.25, abs=0.07)
    for one_changed in changed[changed.flatten(1).any(1)]:
        rows, columns = one_changed.any(1).sum(), one_changed.any(0).sum()
        assert int(one_changed.sum()) == int(rows * columns)
        assert 0.02 * 256 * 0.5 < int(rows * columns) <= 256 / 3 + 16
    noise = erased[erased != 0]
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(erase(plain.clone(), AugmentedParameters("sim", *_of(drawn))), plain)


def _of(drawn: AugmentedParameters) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    return drawn.boxes, drawn.flipped, drawn.seeds


def test_randaugment_has_timms_settings_of_the_papers() -> None:
    from orchestrator.training.augmentations import _steps, _steps_after

    for recipe, magnitude, names in (("randcls", 10, {"Posterize", "Solarize"}), ("livt", 9, {"PosterizeIncreasing"})):
        strong = _steps_after(recipe, 224)[-1]
        assert strong.num_layers == 2  # type: ignore[attr-defined]
        assert {(op.magnitude, op.magnitude_std, op.prob) for op in strong.ops} == {(magnitude, 0.5, 0.5)}  # type: ignore[attr-defined]
        found = {op.name for op in strong.ops}  # type: ignore[attr-defined]
        assert names | {"TranslateXRel", "TranslateYRel", "ShearX", "Rotate"} <= found
    (before,) = _steps("ood_vit", 224)
    assert (before.num_ops, before.magnitude) == (2, 9)  # type: ignore[attr-defined]
    assert _steps_after("ood_vit", 224) == ()
