"""The embedded world: pure functions of the seed, the long-tailed profile, shared attributes, true captions."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.datasets.shapes import ShapesSettings, png_of
from orchestrator.datasets.shapes_classes import ClassDefinition, class_definitions
from orchestrator.datasets.shapes_grammar import (
    CLASS_NAMES,
    COLOURS,
    PARTS,
    SHAPES,
    TEXTURES,
    Attributes,
    describe_object,
    general_caption,
    random_attributes,
    scene_of,
    targeted_caption,
)
from orchestrator.datasets.shapes_render import render
from orchestrator.errors import ConfigError

SMALL = ShapesSettings(
    seed=1000, num_classes=6, max_count=9, imbalance_ratio=3, num_select_per_class=2, num_report_per_class=3
)


def test_a_scene_drawn_twice_gives_the_same_bytes() -> None:
    scene = scene_of(3, "train", 5, random_attributes(3, 5))
    assert np.array_equal(render(scene), render(scene))
    assert png_of(scene) == png_of(scene_of(3, "train", 5, random_attributes(3, 5)))


def test_seed_split_and_index_each_change_the_picture() -> None:
    attributes = Attributes("star", "red", "striped", "tail")
    pictures = {
        render(scene_of(*key, attributes)).tobytes()
        for key in ((3, "train", 5), (4, "train", 5), (3, "select", 5), (3, "train", 6))
    }
    assert len(pictures) == 4


@pytest.mark.parametrize(
    ("field", "values"), [("shape", SHAPES), ("colour", COLOURS), ("texture", TEXTURES), ("part", PARTS)]
)
def test_every_value_of_an_attribute_changes_the_object_in_otherwise_equal_scenes(
    field: str, values: tuple[str, ...]
) -> None:
    """The mean of 40 pictures evens out light, clutter and noise; values differ where the object is, no further."""
    means = []
    for value in values:
        attributes = replace(Attributes("square", "red", "striped", "rim"), **{field: value})
        scenes = [scene_of(3, "values", i, attributes) for i in range(40)]
        scenes = [replace(s, size="large", place="in the middle", background="sand", neighbour="coin") for s in scenes]
        means.append(np.mean([render(s) for s in scenes], axis=0))
    for i, one in enumerate(means):
        for other in means[:i]:
            difference = np.abs(one - other).max(-1)
            border = np.concatenate([difference[:4].ravel(), difference[-4:].ravel()])
            assert difference[8:56, 8:56].max() > 25
            assert np.median(border) < 12


def test_colour_words_are_true_of_the_pixels_of_plain_squares() -> None:
    """Mean colour of the object's middle, over scenes, lies nearest to the named colour."""
    means = {}
    for colour in COLOURS:
        middles = []
        for i in range(40):
            scene = scene_of(3, "colour", i, Attributes("square", colour, "plain", "horns"))
            scene = replace(scene, place="in the middle", size="large", background="sand")
            middles.append(np.median(render(scene)[26:38, 26:38].reshape(-1, 3), axis=0))
        means[colour] = np.median(middles, axis=0)
    red, green, blue = (means[c] for c in ("red", "green", "blue"))
    assert red.argmax() == 0
    assert green.argmax() == 1
    assert blue.argmax() == 2
    assert means["white"].min() > 170
    assert means["yellow"][2] < 0.5 * means["yellow"][:2].min()
    distances = [np.linalg.norm(means[a] - means[b]) for a in COLOURS for b in COLOURS if a < b]
    assert min(distances) > 45


def test_the_training_profile_is_exponential_with_many_medium_and_few() -> None:
    counts = ShapesSettings().train_counts()
    assert (counts[0], counts[-1]) == (350, 3)
    assert counts == tuple(math.floor(350 * 0.01 ** (c / 47) + 1e-9) for c in range(48))
    assert sum(n > 100 for n in counts) == 13
    assert sum(20 <= n <= 100 for n in counts) == 17
    assert sum(n < 20 for n in counts) == 18


@pytest.mark.parametrize("seed", [7, 1000, 1001, 1002])
def test_classes_differ_and_whatever_a_rare_class_is_made_of_frequent_classes_show(seed: int) -> None:
    settings = ShapesSettings(seed=seed)
    definitions, counts = settings.definitions(), settings.train_counts()
    assert len(set(definitions)) == 48
    many = [d for d, n in zip(definitions, counts, strict=True) if n > 100]
    few = [d for d, n in zip(definitions, counts, strict=True) if n < 20]
    for field in fields(ClassDefinition):
        rare = {getattr(d, field.name) for d in few}
        frequent = {getattr(d.example(seed, label, i), field.name) for label, d in enumerate(many) for i in range(100)}
        assert rare - {None} <= frequent


@pytest.mark.parametrize("seed", [7, 1000])
def test_no_object_fits_two_classes_and_every_example_fits_its_own(seed: int) -> None:
    definitions = ShapesSettings(seed=seed).definitions()
    for label, definition in enumerate(definitions):
        for i in range(20):
            example = definition.example(seed, label, i)
            fitting = [
                other
                for other, d in enumerate(definitions)
                if all(getattr(d, f.name) in (None, getattr(example, f.name)) for f in fields(d))
            ]
            assert fitting == [label]


def test_what_a_definition_leaves_free_varies_over_its_images() -> None:
    definition = ClassDefinition("star", "red", None, None)
    assert {definition.example(1, i).texture for i in range(100)} == set(TEXTURES)
    assert {definition.example(1, i).part for i in range(100)} == set(PARTS)
    assert definition.describe() == "a red star"
    assert ClassDefinition("ring", None, "striped", "tail").describe() == "a striped ring with a tail"


def test_class_names_are_different_words_that_say_nothing() -> None:
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) >= 48
    assert not set(CLASS_NAMES) & {*SHAPES, *COLOURS, *TEXTURES, *PARTS}


def test_too_many_classes_are_refused_with_the_limit() -> None:
    with pytest.raises(ConfigError, match="num_classes=65"):
        class_definitions(65, 0)


def test_captions_tell_exactly_what_the_scene_has() -> None:
    scene = scene_of(3, "train", 5, Attributes("star", "orange", "striped", "tail"))
    scene = replace(scene, size="large", place="at the top", background="grass", neighbour="pebble")
    assert general_caption(scene) == "a large orange striped star with a tail on grass, at the top, near a pebble."
    assert describe_object(scene.attributes) == "an orange striped star with a tail"
    assert [targeted_caption(scene, t) for t in ("T1", "T2", "T3", "T4")] == [
        "the object is an orange striped star with a tail.",
        "the object is orange.",
        "the object is a star with a tail.",
        "the object is striped.",
    ]


def test_the_index_addresses_the_very_pictures_of_its_scenes(tmp_path: Path) -> None:
    index = SMALL.index(tmp_path)
    rows = {row["image_id"]: row for row in index.images.to_pylist()}
    assert [index.class_counts(s) for s in ("train", "select", "report")] == [SMALL.train_counts(), (2,) * 6, (3,) * 6]
    assert index.quarantine.num_rows == 0
    for split in ("train", "select", "report"):
        for image_id, label, scene in SMALL.scenes(split):
            row = rows.pop(image_id)
            data = read_image_bytes(row["path"], row["offset"], row["size"])
            assert np.array_equal(np.asarray(decode_rgb(data)), render(scene))
            assert (row["label"], row["oracle_caption"], row["split"]) == (label, general_caption(scene), split)
    assert not rows
    descriptions = index.classes.column("description").to_pylist()
    assert descriptions == [a.describe() for a in SMALL.definitions()]


def test_no_picture_occurs_in_two_splits(tmp_path: Path) -> None:
    hashes = SMALL.index(tmp_path).images.column("content_hash").to_pylist()
    assert len(set(hashes)) == len(hashes)


def test_a_finished_split_is_not_drawn_again_and_other_settings_redraw_it(tmp_path: Path) -> None:
    SMALL.index(tmp_path)
    before = (tmp_path / "train.tar").stat().st_mtime_ns
    SMALL.index(tmp_path)
    assert (tmp_path / "train.tar").stat().st_mtime_ns == before
    other = SMALL.model_copy(update={"seed": 1001})
    captions = other.index(tmp_path).images.column("oracle_caption").to_pylist()
    assert captions == [
        general_caption(s) for split in ("train", "select", "report") for _, _, s in other.scenes(split)
    ]
    assert (tmp_path / "train.tar").stat().st_mtime_ns != before
    assert not list(tmp_path.glob(".*.part"))
