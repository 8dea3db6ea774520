"""Groups of texts become one unit vector each, in closed form and through the stage that embeds."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.compute as pc
import pytest

from orchestrator.artifacts.storage import read_table
from orchestrator.captioners.texts import ClassNameText, DrawnVector
from orchestrator.config.load import load_experiment
from orchestrator.stages import index, line
from orchestrator.stages.texts import class_texts, texts_in, texts_of, vectors_of_groups
from orchestrator.teachers.hashed import HashedEncoderSettings
from orchestrator.teachers.open_clip_encoder import OpenClipSettings
from orchestrator.teachers.weights import resolve_model
from orchestrator.training.data import load_teacher
from tests.smoke_line import SMOKE, quiet_context
from tests.unit.captioners.text_tables import class_table, material

OVERRIDES = [
    "texts={truth: {kind: oracle}, rise: {kind: class_name, ensemble: rise}, noise: {kind: random, seed: 3}, "
    "joined: {kind: caption, prompt: G+T1}, written: {kind: written_description, level: medium}}",
    "text_sources=[rise, noise]",
    "class_text={kind: class_name, ensemble: clip}",
    "text_encoder.dim=24",
    "image_teacher.dim=16",
]


def mean_of(texts: list[str], dim: int) -> Any:
    """The mean of the texts' unit vectors, made unit again."""
    mean = HashedEncoderSettings(dim=dim).build_text()(texts).astype(np.float64).mean(0)
    return mean / np.sqrt((mean**2).sum())


def test_a_group_is_the_mean_of_its_unit_vectors_made_unit_again() -> None:
    texts = ["east", "north", "west"]
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    groups = [("east", "north"), ("north",), ("east", "west"), ("east", "east", "north")]
    half, fifth = np.sqrt(0.5), np.sqrt(0.2)
    wanted = [[half, half], [0, 1], [0, 0], [2 * fifth, fifth]]
    np.testing.assert_allclose(vectors_of_groups(groups, texts, vectors), wanted, rtol=1e-7)


def test_a_group_of_one_keeps_its_vector_bit_for_bit() -> None:
    vectors = HashedEncoderSettings(dim=32).build_text()(["a dax", "a wug"])
    assert np.array_equal(vectors_of_groups([("a wug",), ("a dax",)], ["a dax", "a wug"], vectors), vectors[::-1])


def test_every_text_of_the_groups_is_embedded_once() -> None:
    assert texts_in([("b", "a"), None, DrawnVector(0, "x"), ("a", "c")]) == ["b", "a", "c"]


def test_drawn_vectors_are_uniform_on_the_sphere_and_fixed_by_seed_and_name() -> None:
    groups = [DrawnVector(seed, f"image {number}") for seed in (0, 1) for number in range(500)]
    one = np.zeros((1, 64), np.float32)
    vectors = vectors_of_groups(groups, [""], one)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    cosines = vectors @ vectors.T - np.eye(1000, dtype=np.float32)
    assert np.abs(cosines).max() < 0.65  # standard deviation 1/8; five of them over half a million pairs
    assert abs(cosines.std() - 0.125) < 0.001
    assert np.array_equal(vectors_of_groups(groups[::-1], [""], one), vectors[::-1])


def test_classes_stand_for_themselves_by_description_else_name_unless_a_source_is_chosen() -> None:
    assert class_texts(class_table())[1] == ("a bird called crane",)
    assert class_texts(class_table(described=False))[1] == ("a photo of a crane.",)
    assert class_texts(class_table(), ClassNameText(template="the {class}"))[1] == ("the crane",)
    tables = material()
    found = texts_of(ClassNameText(template="the {class}"), tables.train, tables.classes, tables.captions)
    assert found[3] == ("the red fox",)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The smoke experiment with ensembles, a joined caption, random vectors and written descriptions, embedded."""
    context = quiet_context(load_experiment(SMOKE, OVERRIDES), tmp_path_factory.mktemp("texts"))
    folder = line.run(context, "embed")["embed"].folder
    data = index.load(context)
    train = data.images.filter([split == "train" for split in data.images["split"].to_pylist()])
    vectors = load_teacher(folder, []).text_vectors
    rows = read_table(folder / "text_rows.parquet")
    assert rows["image_id"].equals(train["image_id"])
    return folder, data, train, lambda source: vectors[rows[source].to_numpy()]


def test_an_ensemble_reaches_training_as_the_mean_of_its_templates(embedded: Any) -> None:
    _, data, train, vectors_of = embedded
    names = data.classes["name"].to_pylist()
    ensemble = ClassNameText(ensemble="rise").templates()
    of_class = np.stack([mean_of([text.replace("{class}", name) for text in ensemble], 24) for name in names])
    np.testing.assert_allclose(vectors_of("rise"), of_class[train["label"].to_numpy()], rtol=1e-5, atol=1e-7)


def test_the_teachers_class_vectors_are_those_of_the_chosen_class_text(embedded: Any) -> None:
    folder, data, _, _ = embedded
    ensemble = ClassNameText(ensemble="clip").templates()
    names = data.classes["name"].to_pylist()
    wanted = np.stack([mean_of([text.replace("{class}", name) for text in ensemble], 16) for name in names])
    found = load_teacher(folder, []).class_vectors
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_joined_captions_written_descriptions_and_the_truth_are_embedded_as_one_text(embedded: Any) -> None:
    _, data, train, vectors_of = embedded
    encode = HashedEncoderSettings(dim=24).build_text()
    names = [data.classes["name"][label].as_py() for label in train["label"].to_pylist()]
    general = "Please describe the image in one sentence."
    joined = [
        f"a picture of {w} by {h}: {general} a picture of {w} by {h}: Describe the {name} in the image in one sentence."
        for w, h, name in zip(train["width"].to_pylist(), train["height"].to_pylist(), names, strict=True)
    ]
    np.testing.assert_array_equal(vectors_of("joined"), encode(joined))
    np.testing.assert_array_equal(vectors_of("truth"), encode(train["oracle_caption"].to_pylist()))
    written = [
        f"a photo of {name} . a picture of 0 by 0: Use at most two sentences to describe the appearance of {name}: "
        "its shape, its colors and its texture."
        for name in names
    ]
    np.testing.assert_array_equal(vectors_of("written"), encode(written))


def test_random_vectors_differ_from_image_to_image(embedded: Any) -> None:
    noise = embedded[3]("noise")
    assert len(np.unique(noise, axis=0)) == len(noise)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1), 1, rtol=1e-6)


def test_a_file_that_changed_is_read_again_and_one_that_moved_is_not(tmp_path: Path) -> None:
    def made(file: Path) -> tuple[str, int]:
        overrides = ["texts={said: {kind: sentences, file: %s}}" % file, "text_sources=[said]"]  # noqa: UP031
        context = quiet_context(load_experiment(SMOKE, overrides), tmp_path / "runs")
        plan = line.run(context, "embed")["embed"]
        return plan.fingerprint, (plan.folder / "manifest.json").stat().st_mtime_ns

    context = quiet_context(load_experiment(SMOKE), tmp_path / "runs")
    index.make(context)
    names = index.load(context).classes["name"].to_pylist()
    first, moved = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("".join(f"{name}\tIt is a {name}.\n{name}\tIt is odd.\n" for name in names))
    moved.write_bytes(first.read_bytes())
    assert made(first) == made(first) == made(moved)
    before = made(first)
    first.write_text(first.read_text().replace("odd", "even"))
    assert made(first)[0] != before[0]


def test_a_drawn_sentence_is_one_of_its_class_another_in_each_pass_and_the_same_again(tmp_path: Path) -> None:
    context = quiet_context(load_experiment(SMOKE), tmp_path / "runs")
    index.make(context)
    names = index.load(context).classes["name"].to_pylist()
    said = {name: [f"It is a {name}.", f"A {name} is odd.", f"Few know the {name}."] for name in names}
    file = tmp_path / "said.txt"
    file.write_text("".join(f"{name}\t{sentence}\n" for name, sentences in said.items() for sentence in sentences))
    overrides = [f"texts={{said: {{kind: sentences, file: {file}, use: draw}}}}", "text_sources=[said]"]
    context = quiet_context(load_experiment(SMOKE, overrides), tmp_path / "runs")
    folder = line.run(context, "embed")["embed"].folder
    teacher, encode = load_teacher(folder, ["said"]), context.experiment.text_encoder.build_text()
    labels = context.experiment.dataset.index(tmp_path / "w").images.filter(pc.field("split") == "train")["label"]
    rows = np.arange(len(labels))
    passes = [teacher.inputs(rows, 0, data_seed=3, pass_index=number) for number in (0, 1, 0)]
    first, second, again = (inputs["text_id"][:, 0].numpy() for inputs in passes)
    assert np.array_equal(first, again)
    assert 0.4 < (first != second).mean() < 0.9  # two thirds of three
    for row, label in zip(rows, labels.to_pylist(), strict=True):
        vectors = encode(said[names[label]])
        assert np.abs(vectors - passes[0]["text"][row, 0].numpy()).max(axis=1).min() < 1e-6


@pytest.mark.parametrize("ensemble", ["rise", "clip"])
def test_an_ensemble_of_a_clip_is_open_clips_own_zero_shot_classifier(ensemble: Any) -> None:
    source, encoder = ClassNameText(ensemble=ensemble), OpenClipSettings()
    groups = class_texts(class_table(), source)
    texts = texts_in(groups)
    found = vectors_of_groups(groups, texts, encoder.build_text()(texts))
    path = f"local-dir:{resolve_model(encoder.model)}"
    model = open_clip.create_model(path, precision="fp32", weights_only=True).eval()
    names, templates = class_table()["name"].to_pylist(), [text.replace("{class}", "{}") for text in source.templates()]
    peer = open_clip.build_zero_shot_classifier(model, open_clip.get_tokenizer(path), names, templates)
    np.testing.assert_allclose(found, peer.numpy().T, atol=1e-6)
