"""What every captioner, encoder and student must keep, run on each member of its union."""

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from orchestrator.captioners import CaptionerSettings, TransformersCaptionerSettings
from orchestrator.captioners.prompts import PROMPTS, inject_class
from orchestrator.datasets import DatasetSettings
from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings, TimmStudentSettings
from orchestrator.teachers import EncoderSettings

SAMPLES: dict[type, dict[str, Any]] = {  # members whose settings have no defaults for everything
    TimmStudentSettings: {"name": "test_byobnet"},
    TransformersCaptionerSettings: {"max_new_tokens": 40},
}
REQUIRED = {"image_folder": {"root": "x"}, "list_file": {"root": "x", "lists": {"train": "x"}}, "timm": {"name": "x"}}


def members(union: Any) -> list[Any]:
    """The settings classes of a union."""
    return list(get_args(get_args(union)[0]))


def built(kind: Any) -> Any:
    """A member with sample settings."""
    return kind(**SAMPLES.get(kind, {}))


UNIONS = (CaptionerSettings, EncoderSettings, StudentSettings, LossSettings, DatasetSettings)
SETTINGS = [kind for union in UNIONS for kind in members(union)]
each_captioner = pytest.mark.parametrize("kind", members(CaptionerSettings), ids=lambda kind: kind.__name__)
each_encoder = pytest.mark.parametrize("kind", members(EncoderSettings), ids=lambda kind: kind.__name__)
each_student = pytest.mark.parametrize("kind", members(StudentSettings), ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Five scenes of the embedded world."""
    return [Image.fromarray(render(scene_of(5, "contract", i, random_attributes(5, i)))) for i in range(5)]


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_settings_cannot_change_refuse_unknown_names_and_survive_json(kind: Any) -> None:
    name = kind.model_fields["kind"].default
    settings = kind(**REQUIRED.get(name, {}))
    assert kind.model_validate(json.loads(settings.model_dump_json())) == settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.kind = "other"
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind(**REQUIRED.get(name, {}), no_such_setting=1)


@each_captioner
def test_a_captioner_answers_each_image_in_order_whatever_shares_its_batch(kind: Any, pictures: Any) -> None:
    caption = built(kind).build()
    prompts = [
        inject_class(PROMPTS[name], "dax") for name in ("general", "targeted_1", "general", "targeted_2", "general")
    ]
    together = caption(pictures, prompts)
    assert [caption([picture], [prompt])[0] for picture, prompt in zip(pictures, prompts, strict=True)] == together
    assert all(text and text == text.strip() for text in together)
    assert caption(pictures, prompts) == together


@each_captioner
def test_a_captioners_identity_is_plain_json_and_stable(kind: Any) -> None:
    identity = built(kind).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert built(kind).identity() == identity


def test_decoding_settings_and_number_format_are_part_of_a_captions_identity() -> None:
    settings = TransformersCaptionerSettings(max_new_tokens=40)
    for change in ({"max_new_tokens": 41}, {"dtype": "bfloat16"}, {"attention": "eager"}):
        assert settings.model_copy(update=change).identity() != settings.identity()


@each_encoder
def test_an_encoder_gives_unit_rows_that_do_not_depend_on_their_batch(kind: Any, pictures: Any) -> None:
    settings = built(kind)
    texts = ["a red star", "a striped ring with a tail", "", "ein Wort außerhalb"]
    for encode, items in ((settings.build_text(), texts), (settings.build_image(), pictures)):
        rows = encode(items)
        assert rows.dtype == np.float32
        norms = np.linalg.norm(rows, axis=1)
        assert np.all(np.isclose(norms, 1, atol=1e-5) | (norms == 0))  # a text without words may have no direction
        np.testing.assert_allclose(np.concatenate([encode([item]) for item in items]), rows, atol=1e-5)
    assert settings.build_text()(texts).shape[1] == settings.build_image()(pictures).shape[1]


@each_student
def test_a_student_classifies_each_image_by_itself_from_its_feature(kind: Any) -> None:
    torch.manual_seed(0)
    student = built(kind).build(7).eval()
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        logits, feature = student(images)
        alone = [student(images[i : i + 1]) for i in range(4)]
    assert (logits.shape, feature.shape) == ((4, 7), (4, student.feature_dim))
    torch.testing.assert_close(torch.cat([one[0] for one in alone]), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([one[1] for one in alone]), feature, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits[0], logits[1])
