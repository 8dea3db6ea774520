"""Prompts by name, the injection of the class, and the constant captioner."""

import pytest
from PIL import Image

from orchestrator.captioners.constant import ConstantCaptionerSettings
from orchestrator.captioners.prompts import PROMPTS, inject_class, resolve_prompts
from orchestrator.captioners.protocol import Visit
from orchestrator.captioners.texts import CaptionText, ClassNameText
from orchestrator.errors import ConfigError


def test_the_general_and_the_first_targeted_prompt_are_those_of_the_paper() -> None:
    assert resolve_prompts(["targeted_1", "general"], {}) == {
        "targeted_1": "Describe the {class} in the image in one sentence.",
        "general": "Please describe the image in one sentence.",
    }


def test_only_targeted_prompts_name_the_class() -> None:
    assert {name for name, text in PROMPTS.items() if "{class}" in text} == {f"targeted_{n}" for n in (1, 2, 3, 4)}


def test_custom_prompts_are_found_and_win_over_the_built_in_ones() -> None:
    custom = {"haiku": "Write a haiku.", "general": "What is this?"}
    assert resolve_prompts(["haiku", "general"], custom) == custom


def test_unknown_prompts_are_all_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        resolve_prompts(["general", "sonnet", "haiku"], {"ode": "Write an ode."})
    told = str(error.value)
    assert "unknown sonnet, haiku" in told
    assert "general" in told.splitlines()[1]
    assert "ode" in told.splitlines()[1]


def test_the_class_is_put_in_everywhere_and_other_braces_stay() -> None:
    assert inject_class("Is {class} a {class}? {json}", "dax {0}") == "Is dax {0} a dax {0}? {json}"
    assert inject_class("Describe.", "dax") == "Describe."


def test_the_constant_captioner_fills_in_size_and_prompt_of_each_image() -> None:
    captioner = ConstantCaptionerSettings(text="{width}x{height}: {prompt}").build()
    visits = [Visit(Image.new("RGB", (3, 5)), ("one?", "again?")), Visit(None, ("two {class}?",))]
    assert captioner.caption(visits) == [["3x5: one?", "3x5: again?"], ["0x0: two {class}?"]]
    assert captioner.usage.counts == {"forwards": 1, "images_encoded": 2}


def test_the_answers_text_is_part_of_the_captioners_identity() -> None:
    one, two = ConstantCaptionerSettings(), ConstantCaptionerSettings(text="another")
    assert one.identity() == ConstantCaptionerSettings().identity() != two.identity()


def test_a_class_template_without_the_class_is_refused() -> None:
    assert ClassNameText(template="a sketch of a {class}").template == "a sketch of a {class}"
    with pytest.raises(ValueError, match=r"a template must hold \{class\}"):
        ClassNameText(template="a photo")


def test_captions_are_permuted_over_the_set_or_within_the_class_only() -> None:
    assert CaptionText(prompt="general").permute == "none"
    with pytest.raises(ValueError, match="within_class"):
        CaptionText.model_validate({"prompt": "general", "permute": "classes"})
