"""Real architectures with tiny random weights say what a plain transformers loop says, however they are asked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from orchestrator.captioners import TransformersCaptionerSettings, Visit
from tests.plain_generate import PlainLoop

SHARED = {
    "llava_next": "prefix",
    "llava_next_sliding": "image",
    "llava": "prefix",
    "vip_llava": "none",
    "gemma3": "none",
    "qwen2_vl": "prefix",
    "qwen2_5_vl": "prefix",
    "blip": "image",
    "blip_2": "image",
    "blip_2_t5": "image",
}
TOWERS = {
    "CLIPVisionModel",
    "SiglipVisionModel",
    "Qwen2VisionTransformerPretrainedModel",
    "Qwen2_5_VisionTransformerPretrainedModel",
    "BlipVisionModel",
    "Blip2VisionModel",
}
PREFIX_FAMILIES = [name for name, shared in SHARED.items() if shared == "prefix"]
FIVE = (
    "please describe the image in one sentence",
    "describe the color of the dax in the image",
    "describe the shape",
    "please describe the wug on sand",
    "what is this",
)
Folder = Callable[[str], Path]


def settings(folder: Path, **changes: Any) -> TransformersCaptionerSettings:
    """Settings for a directory of tiny weights."""
    prompts = "text_prefix" if "blip" in folder.name else "chat"
    attention = "eager" if folder.name == "blip" else "sdpa"  # transformers has no other for BLIP
    usual = {"max_new_tokens": 12, "prompt_format": prompts, "attention": attention}
    return TransformersCaptionerSettings(model=str(folder), **{**usual, **changes})


def visits(pictures: list[Image.Image]) -> list[Visit]:
    """Images of several shapes with five, two, one and three prompts of several lengths."""
    chosen = (FIVE, FIVE[1:3], FIVE[4:], FIVE[:3])
    return [Visit(picture, prompts) for picture, prompts in zip(pictures, chosen, strict=True)]


@pytest.mark.parametrize(
    ("name", "attention"),
    [(name, attention) for name in SHARED for attention in ("eager", "sdpa") if (name, attention) != ("blip", "sdpa")],
)
def test_all_prompts_in_one_visit_answer_like_a_plain_loop_of_separate_passes(
    name: str, attention: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    folder = model_folder(name)
    captioner = settings(folder, attention=attention).build()
    asked = visits(pictures)
    plain = PlainLoop(folder, attention=attention).ask_all((visit.image, visit.prompts) for visit in asked)
    assert captioner.caption(asked) == plain
    assert len({answers[0] for answers in plain}) > 1, "answers that ignore the image would prove nothing"
    assert len(set(plain[0])) > 1, "answers that ignore the prompt would prove nothing"
    assert len({len(text.split()) for answers in plain for text in answers}) > 1, "rows end at different lengths"


@pytest.mark.parametrize("name", SHARED)
def test_each_family_shares_what_its_table_says_and_sees_an_image_once(
    name: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    captioner = settings(model_folder(name)).build()
    assert captioner.sharing == SHARED[name]
    towers: list[str] = []

    def note(module: torch.nn.Module, *_: Any) -> None:
        if type(module).__name__ in TOWERS:
            towers.append(type(module).__name__)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        captioner.caption(visits(pictures))
    finally:
        hook.remove()
    assert len(towers) == 1, "one call of the tower for all images and prompts"
    num_prompts = sum(len(visit.prompts) for visit in visits(pictures))
    assert captioner.usage.counts["images_encoded"] == (num_prompts if captioner.sharing == "none" else len(pictures))
    assert captioner.usage.counts["forwards"] == 1


@pytest.mark.parametrize("name", PREFIX_FAMILIES)
def test_the_common_prefix_goes_through_the_decoder_once_per_image(
    name: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    folder = model_folder(name)
    captioner, plain = settings(folder).build(), PlainLoop(folder)
    rows = [[plain.inputs(picture, prompt)["input_ids"][0].tolist() for prompt in FIVE[:2]] for picture in pictures]
    captioner.caption([Visit(picture, FIVE[:2]) for picture in pictures])
    prefixes = [next(at for at, pair in enumerate(zip(*two, strict=False)) if len(set(pair)) == 2) for two in rows]
    num_tokens = sum(len(row) for two in rows for row in two)
    assert captioner.usage.counts["prompt_tokens"] == num_tokens
    assert captioner.usage.counts["prefill_tokens"] == num_tokens - sum(prefixes)


def test_tokens_of_answers_are_counted_up_to_their_end(model_folder: Folder, pictures: list[Image.Image]) -> None:
    folder = model_folder("llava")
    captioner, plain = settings(folder).build(), PlainLoop(folder)
    captioner.caption(visits(pictures))
    expected = 0
    for visit in visits(pictures):
        for prompt in visit.prompts:
            inputs = plain.inputs(visit.image, prompt)
            expected += plain.model.generate(**inputs, **plain.decoding).shape[1] - inputs["input_ids"].shape[1]
    assert captioner.usage.counts["completion_tokens"] == expected


@pytest.mark.parametrize("name", ["llava_next", "llava_next_sliding", "qwen2_vl", "blip", "blip_2"])
def test_beam_search_and_a_least_length_are_those_of_the_plain_loop(
    name: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    folder = model_folder(name)
    asked = visits(pictures)
    plain = PlainLoop(folder, num_beams=3, min_new_tokens=5)
    captioner = settings(folder, num_beams=3, min_new_tokens=5).build()
    assert captioner.caption(asked) == plain.ask_all((visit.image, visit.prompts) for visit in asked)


@pytest.mark.parametrize("name", SHARED)
def test_a_family_runs_in_bfloat16_like_the_plain_loop(
    name: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    folder = model_folder(name)
    captioner = settings(folder, dtype="bfloat16").build()
    plain = PlainLoop(folder, dtype=torch.bfloat16)
    for picture in pictures:  # one at a time: bfloat16 rounds differently in a batch
        assert captioner.caption([Visit(picture, FIVE[:1])]) == plain.ask_all([(picture, FIVE[:1])])


@pytest.mark.parametrize("name", ["llava_next", "llava", "vip_llava", "qwen2_vl", "llama"])
def test_a_chat_without_an_image_answers_like_a_plain_loop(
    name: str, model_folder: Folder, pictures: list[Image.Image]
) -> None:
    folder = model_folder(name)
    asked = [Visit(None, FIVE), Visit(None, FIVE[:1])]
    if name != "llama":
        asked = [asked[0], Visit(pictures[1], FIVE[:2]), asked[1]]
    plain = PlainLoop(folder).ask_all((visit.image, visit.prompts) for visit in asked)
    captioner = settings(folder).build()
    assert captioner.caption(asked) == plain
    assert captioner.caption([]) == []


def test_blip_without_a_prompt_says_what_it_says_unconditionally(
    model_folder: Folder, pictures: list[Image.Image]
) -> None:
    for name in ("blip", "blip_2"):
        folder = model_folder(name)
        plain = PlainLoop(folder)
        captioner = settings(folder, prompt_format="none").build()
        for picture in pictures:
            pixels = plain.processor(images=picture, return_tensors="pt")
            tokens = plain.model.generate(**pixels, **plain.decoding)[0]
            said = plain.processor.decode(tokens, skip_special_tokens=True).strip()
            assert captioner.caption([Visit(picture, FIVE[:2])]) == [[said, said]]


def test_penalties_and_sampling_in_the_models_own_files_are_not_decoding_settings(
    model_folder: Folder, pictures: list[Image.Image], tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder("qwen2_vl"), tmp_path / "qwen2_vl")
    path = folder / "generation_config.json"
    theirs = json.loads(path.read_text())
    path.write_text(
        json.dumps({**theirs, "do_sample": True, "temperature": 2.0, "repetition_penalty": 9.0, "top_k": 5})
    )
    asked = [Visit(picture, FIVE) for picture in pictures]
    same = settings(model_folder("qwen2_vl")).build().caption(asked)
    assert settings(folder).build().caption(asked) == same
    assert PlainLoop(folder).ask_all((visit.image, visit.prompts) for visit in asked) != same


def test_a_model_that_says_nothing_answers_with_an_empty_text(model_folder: Folder) -> None:
    captioner = settings(model_folder("silent_llama")).build()
    assert captioner.caption([Visit(None, FIVE[:2])]) == [["", ""]]
