"""Licences that the card tells: stated ones win, known ones are told, others are unknown."""

import pytest

from orchestrator.exporting.licences import licence_of


@pytest.mark.parametrize(
    ("model", "licence"),
    [
        ("openai/clip-vit-base-patch32", "MIT"),
        ("llava-hf/llava-v1.6-vicuna-13b-hf", "Llama 2 Community License"),
        ("embedded:tiny_clip", "Apache-2.0 (trained by this project)"),
        ("somebody/openai/clip-vit-base-patch32", "unknown"),
        ("my-own-model", "unknown"),
    ],
)
def test_known_models_have_their_publishers_licence_and_others_none(model: str, licence: str) -> None:
    assert licence_of(model, {}) == licence


def test_what_the_user_states_wins() -> None:
    assert licence_of("openai/clip-vit-base-patch32", {"openai/clip-vit-base-patch32": "bought"}) == "bought"
