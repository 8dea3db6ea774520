"""What every captioner must keep, run on each member of its union."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from PIL import Image

from orchestrator.captioners import (
    CaptionerSettings,
    OpenAIEndpointSettings,
    TransformersCaptionerSettings,
    Visit,
    VllmCaptionerSettings,
)
from orchestrator.captioners.prompts import PROMPTS, inject_class
from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from tests.endpoint_server import EndpointServer

SAMPLES: dict[type, dict[str, Any]] = {
    TransformersCaptionerSettings: {"max_new_tokens": 40},
    OpenAIEndpointSettings: {"base_url": "set by `endpoint`", "model": "org/vlm", "declared_version": "1"},
    VllmCaptionerSettings: {"model": "embedded:tiny_vlm", "dtype": "float32", "max_model_len": 512},
}
NEEDS: dict[type, str] = {VllmCaptionerSettings: "vllm"}  # what a member needs in order to be built
MEMBERS = get_args(get_args(CaptionerSettings)[0])
each_captioner = pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)


def built(kind: Any) -> Any:
    """A member with sample settings."""
    return kind(**SAMPLES.get(kind, {}))


def captioner_of(kind: Any) -> Any:
    """A captioner of this kind; skips where its optional library is missing."""
    if kind in NEEDS:
        pytest.importorskip(
            NEEDS[kind], reason=f"{kind.__name__} needs the extra {NEEDS[kind]}, which is not installed"
        )
    return built(kind).build()


@pytest.fixture(scope="module", autouse=True)
def endpoint() -> Iterator[None]:
    """A real server on this machine for the captioner that asks one."""
    with EndpointServer() as server:
        SAMPLES[OpenAIEndpointSettings]["base_url"] = server.base_url
        yield


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Five scenes of the embedded world."""
    return [Image.fromarray(render(scene_of(5, "contract", i, random_attributes(5, i)))) for i in range(5)]


@each_captioner
def test_a_captioner_answers_each_image_in_order_whatever_shares_its_batch(kind: Any, pictures: Any) -> None:
    captioner = captioner_of(kind)
    prompts = [
        inject_class(PROMPTS[name], "dax") for name in ("general", "targeted_1", "general", "targeted_2", "general")
    ]
    visits = [Visit(picture, (prompt,)) for picture, prompt in zip(pictures, prompts, strict=True)]
    together = captioner.caption(visits)
    assert [captioner.caption([visit])[0] for visit in visits] == together
    assert all(len(answers) == 1 and answers[0] and answers[0] == answers[0].strip() for answers in together)
    assert captioner.caption(visits) == together
    assert captioner.usage.counts["forwards"] >= len(visits) + 2


@each_captioner
def test_all_prompts_of_an_image_in_one_visit_answer_like_one_by_one(kind: Any, pictures: Any) -> None:
    captioner = captioner_of(kind)
    prompts = tuple(inject_class(PROMPTS[name], "dax") for name in ("general", "targeted_1", "targeted_2"))
    asked = [Visit(pictures[0], prompts), Visit(pictures[1], prompts[1:]), Visit(pictures[2], prompts[:1])]
    one_by_one = [[captioner.caption([Visit(v.image, (p,))])[0][0] for p in v.prompts] for v in asked]
    assert captioner.caption(asked) == one_by_one


@each_captioner
def test_visits_without_an_image_are_answered_in_their_place(kind: Any, pictures: Any) -> None:
    captioner = captioner_of(kind)
    prompts = ("Describe a dax in one sentence.", PROMPTS["general"])
    asked = [Visit(pictures[0], prompts[1:]), Visit(None, prompts), Visit(pictures[1], prompts[1:])]
    assert captioner.caption(asked) == [captioner.caption([visit])[0] for visit in asked]


@each_captioner
def test_a_captioners_identity_is_plain_json_and_stable(kind: Any) -> None:
    identity = built(kind).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert built(kind).identity() == identity


def test_decoding_settings_and_number_format_are_part_of_a_captions_identity() -> None:
    settings = TransformersCaptionerSettings(max_new_tokens=40)
    for change in ({"max_new_tokens": 41}, {"dtype": "bfloat16"}, {"attention": "eager"}):
        assert settings.model_copy(update=change).identity() != settings.identity()
