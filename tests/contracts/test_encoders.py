"""What every frozen encoder must keep, run on each architecture that each member of the unions must load.

Each runs from a local directory of that very architecture with tiny random weights (`tests/tiny_encoders.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from orchestrator.teachers import (
    HashedEncoderSettings,
    ImageEncoderSettings,
    OpenClipSettings,
    SentenceTransformersSettings,
    TextEncoderSettings,
    TimmEncoderSettings,
    TransformersClipSettings,
    TransformersVisionSettings,
    TunedEncoderSettings,
    text_identity,
)
from tests import tiny_encoders as tiny

MAPS = ("embedding", "feature", "tokens", "attention")
TEXTS = ["a red star", "a striped ring with a tail", "", "ein Wort außerhalb", "a photo of the dotted disc " * 12]


@dataclass(frozen=True)
class Case:
    """One architecture: its settings class, who writes its directory, and what it is asked for."""

    kind: Any
    make: Callable[[Path], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = MAPS

    def settings(self, folder: Path, **changes: Any) -> Any:
        """Its settings, asking for everything that it can give."""
        wanted = {"outputs": self.outputs} if "outputs" in self.kind.model_fields else {}
        model = {} if self.make is None else {"model": tiny.made(folder, self.make)}
        return self.kind(**{**self.options, **wanted, **model, **changes})


CASES = {
    "hashed": Case(HashedEncoderSettings),
    "embedded clip": Case(OpenClipSettings, outputs=("embedding", "feature", "tokens")),
    "open_clip vit": Case(OpenClipSettings, tiny.open_clip_vit),
    "timm dino": Case(TimmEncoderSettings, tiny.timm_dino),
    "timm beit": Case(TimmEncoderSettings, tiny.timm_beit, outputs=(*MAPS, "logits")),
    "timm convnet": Case(TimmEncoderSettings, tiny.timm_convnet, outputs=("embedding", "feature", "tokens", "logits")),
    "transformers clip": Case(TransformersClipSettings, tiny.hf_clip),
    "transformers blip for retrieval": Case(TransformersClipSettings, tiny.hf_blip_retrieval),
    "transformers blip": Case(TransformersClipSettings, tiny.hf_blip),
    "transformers dino": Case(TransformersVisionSettings, tiny.hf_dino),
    "transformers dino, mean": Case(TransformersVisionSettings, tiny.hf_dino, {"pooling": "mean"}),
    "transformers beit": Case(TransformersVisionSettings, tiny.hf_beit, {"pooling": "pooler"}),
    "tuned": Case(TunedEncoderSettings, tiny.tuned, outputs=(*MAPS, "logits")),
    "tuned, the head alone": Case(TunedEncoderSettings, tiny.tuned_head, outputs=("embedding", "feature", "logits")),
    "sentence bert": Case(SentenceTransformersSettings, tiny.sentence_bert),
}


def members(union: Any) -> tuple[Any, ...]:
    """The settings classes of a union."""
    return get_args(get_args(union)[0])


OF_TEXTS = [name for name, case in CASES.items() if case.kind in members(TextEncoderSettings)]
OF_IMAGES = [name for name, case in CASES.items() if case.kind in members(ImageEncoderSettings)]
each_of_texts = pytest.mark.parametrize("name", OF_TEXTS)
each_of_images = pytest.mark.parametrize("name", OF_IMAGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the directories of the tiny models are."""
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Scenes of the embedded world, of different sizes and modes."""
    scenes = [Image.fromarray(render(scene_of(5, "contract", i, random_attributes(5, i)))) for i in range(5)]
    return [scenes[0], scenes[1].resize((90, 40)), scenes[2].convert("L"), scenes[3], scenes[4].resize((33, 71))]


def test_every_kind_has_a_case_here() -> None:
    assert {case.kind for case in CASES.values()} == {*members(TextEncoderSettings), *members(ImageEncoderSettings)}


@each_of_texts
def test_text_rows_are_unit_vectors_that_do_not_depend_on_their_batch(name: str, folder: Path) -> None:
    encode = CASES[name].settings(folder).build_text()
    rows = encode(TEXTS)
    assert rows.dtype == np.float32
    norms = np.linalg.norm(rows, axis=1)
    assert np.all(np.isclose(norms, 1, atol=1e-5) | (norms == 0))  # a text without words may have no direction
    np.testing.assert_allclose(np.concatenate([encode([text]) for text in TEXTS]), rows, atol=1e-5)
    assert list(rows.shape[1:]) == encode.info["dims"]["embedding"]
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


@each_of_texts
def test_texts_over_the_context_length_are_counted_and_what_is_beyond_it_is_not_read(name: str, folder: Path) -> None:
    settings = CASES[name].settings(folder, **({"context_length": 12} if name == "hashed" else {}))
    encode = settings.build_text()
    limit, frame = encode.info["context_length"], 0 if name == "hashed" else 2
    words = limit - frame
    texts = [" ".join(["red"] * count) for count in (words - 1, words, words + 1, words + 30)]
    assert encode.num_tokens(texts) == [limit - 1, limit, limit + 1, limit + 30]
    assert encode.num_over_length(texts) == 2
    rows = encode(texts)
    np.testing.assert_allclose(rows[2:], rows[[1, 1]], atol=1e-5)


@each_of_images
def test_image_rows_are_as_told_and_do_not_depend_on_their_batch(name: str, folder: Path, pictures: Any) -> None:
    case = CASES[name]
    encode = case.settings(folder).build_image()
    rows = encode(pictures)
    assert list(rows) == list(case.outputs)
    alone = [encode([picture]) for picture in pictures]
    for output, array in rows.items():
        assert array.dtype == np.float32
        assert list(array.shape) == [len(pictures), *encode.info["dims"][output]]
        np.testing.assert_allclose(np.concatenate([one[output] for one in alone]), array, atol=2e-5)
        assert np.abs(array[0] - array[3]).max() > 1e-5
    np.testing.assert_allclose(np.linalg.norm(rows["embedding"], axis=1), 1, atol=1e-5)
    again = encode.encode(encode.preprocess(pictures))
    assert all(np.array_equal(again[output], rows[output]) for output in rows)
    assert encode.info["preprocessing"]
    if "tokens" in rows:
        grid = encode.info["grid"]
        assert rows["tokens"].shape[1] == encode.info["num_prefix_tokens"] + grid[0] * grid[1]
    if "attention" in rows:
        assert rows["attention"].shape[2] == rows["tokens"].shape[1]
        np.testing.assert_allclose(rows["attention"].sum(-1), 1, atol=1e-5)
        assert rows["attention"].min() >= 0


@each_of_images
def test_an_embedding_does_not_change_when_more_outputs_are_asked_for(name: str, folder: Path, pictures: Any) -> None:
    every = CASES[name].settings(folder).build_image()(pictures)
    only = CASES[name].settings(folder, outputs=("embedding",)).build_image()(pictures)
    assert list(only) == ["embedding"]
    np.testing.assert_allclose(only["embedding"], every["embedding"], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name != "hashed"])
def test_lower_precision_is_near_and_whatever_changes_numbers_changes_the_identity(
    name: str, folder: Path, pictures: Any
) -> None:
    settings = CASES[name].settings(folder)
    lower = CASES[name].settings(folder, dtype="bfloat16")
    if name in OF_TEXTS:
        assert (lower.build_text()(TEXTS[:2]) * settings.build_text()(TEXTS[:2])).sum(1).min() > 0.995
    if name in OF_IMAGES:
        near = lower.build_image()(pictures)["embedding"] * settings.build_image()(pictures)["embedding"]
        assert near.sum(1).min() > 0.99
    changes: list[dict[str, Any]] = [{"dtype": "bfloat16"}, {"store_dtype": "float16"}]
    if "outputs" in type(settings).model_fields:
        changes.append({"outputs": ("embedding",)})
    identities = [one.identity() for one in (settings, *(settings.model_copy(update=change) for change in changes))]
    assert all(one != other for at, one in enumerate(identities) for other in identities[at + 1 :])


@each_of_images
def test_outputs_hold_the_embedding_and_each_name_once(name: str, folder: Path) -> None:
    for wrong in (("feature",), ("embedding", "feature", "feature"), ("embedding", "nothing")):
        with pytest.raises(ValidationError, match="outputs"):
            CASES[name].settings(folder, outputs=wrong)


@pytest.mark.parametrize("name", [name for name in OF_TEXTS if name in OF_IMAGES])
def test_texts_and_images_share_a_space_and_text_rows_survive_other_image_outputs(name: str, folder: Path) -> None:
    settings = CASES[name].settings(folder)
    assert settings.build_text().info["dims"]["embedding"] == settings.build_image().info["dims"]["embedding"]
    only = CASES[name].settings(folder, outputs=("embedding",))
    assert text_identity(only) == text_identity(settings)
    assert only.identity() != settings.identity()
