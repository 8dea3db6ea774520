"""What every frozen encoder must keep, run on each member of its union."""

from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from orchestrator.teachers import EncoderSettings

SAMPLES: dict[type, dict[str, Any]] = {}
MEMBERS = get_args(get_args(EncoderSettings)[0])
each_encoder = pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)


def built(kind: Any) -> Any:
    """A member with sample settings."""
    return kind(**SAMPLES.get(kind, {}))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Five scenes of the embedded world."""
    return [Image.fromarray(render(scene_of(5, "contract", i, random_attributes(5, i)))) for i in range(5)]


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
