"""The shipped teachers, loaded as the big ones are: how well they know the world, and what unknown words do."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.shapes_grammar import (
    GENERAL_PROMPT,
    TARGETED_PROMPTS,
    general_caption,
    targeted_caption,
)
from orchestrator.datasets.shapes_render import render
from orchestrator.embedded import TINY_CLIP, TINY_VLM, WEIGHTS
from orchestrator.embedded.quality import folder_mebibytes, named
from orchestrator.embedded.scene_pool import pool_scene
from orchestrator.embedded.teacher_texts import class_text, full_text, partial_text
from orchestrator.embedded.train_clip import contrastive_loss, true_of
from orchestrator.embedded.train_tower import ATTRIBUTES, to_input, value_indices
from orchestrator.embedded.train_vlm import answer

SCENES = [pool_scene(i, "test") for i in range(150)]
PIXELS = [render(s) for s in SCENES]


@pytest.fixture(scope="module")
def clip() -> tuple[Any, Any]:
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{TINY_CLIP}")
    return model.eval(), open_clip.get_tokenizer(f"local-dir:{TINY_CLIP}")


@pytest.fixture(scope="module")
def vlm() -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(TINY_VLM).eval(), AutoProcessor.from_pretrained(TINY_VLM)


def test_the_weights_take_at_most_15_mebibytes() -> None:
    assert folder_mebibytes(WEIGHTS) < 15


def test_the_tokenizer_gives_back_any_string(clip: tuple[Any, Any]) -> None:
    tokenizer = clip[1].tokenizer
    for text in ("a red striped star", "Qorbax-9 zñ 😀 日本", "golden retriever", "\tx"):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).lstrip(" ") == text


@torch.no_grad()
def test_zero_shot_by_descriptions_is_right_for_at_least_80_percent(clip: tuple[Any, Any]) -> None:
    model, tokenize = clip
    settings = ShapesSettings(seed=1003, num_select_per_class=6)
    rows = list(settings.scenes("select"))
    texts = model.encode_text(tokenize([a.describe() for a in settings.definitions()]), normalize=True)
    images = model.encode_image(to_input(np.stack([render(s) for _, _, s in rows])), normalize=True)
    right = (images @ texts.T).argmax(1) == torch.tensor([label for _, label, _ in rows])
    assert right.float().mean() >= 0.8


def test_general_captions_of_unseen_scenes_name_shape_and_colour(vlm: tuple[Any, Any]) -> None:
    answers = answer(*vlm, PIXELS, [GENERAL_PROMPT] * len(PIXELS))
    right = [named(s, t) for s, t in zip(SCENES, answers, strict=True)]
    assert sum(r["shape"] for r in right) / len(right) >= 0.9
    assert sum(r["colour"] for r in right) / len(right) >= 0.9
    assert len(set(answers)) >= 0.95 * len(answers)


@pytest.mark.parametrize("kind", sorted(TARGETED_PROMPTS))
def test_targeted_prompts_are_answered_in_their_own_form_whatever_the_class_is_called(
    vlm: tuple[Any, Any], kind: str
) -> None:
    names = ["dax", "golden retriever", "Xyqwzt"]
    prompts = [TARGETED_PROMPTS[kind].format_map({"class": names[i % 3]}) for i in range(60)]
    answers = answer(*vlm, PIXELS[:60], prompts)
    assert sum(a == targeted_caption(s, kind) for a, s in zip(answers, SCENES, strict=False)) >= 0.75 * 60


def test_answers_do_not_depend_on_the_padding_of_a_mixed_batch(vlm: tuple[Any, Any]) -> None:
    prompts = [GENERAL_PROMPT, TARGETED_PROMPTS["T2"].format_map({"class": "very long unheard of name"})] * 4
    together = answer(*vlm, PIXELS[:8], prompts)
    alone = [answer(*vlm, [p], [q])[0] for p, q in zip(PIXELS, prompts, strict=False)]
    assert together == alone


def test_a_text_is_true_of_exactly_the_scenes_that_have_what_it_tells() -> None:
    values = torch.tensor([value_indices(s) for s in SCENES[:40]])
    rng = random.Random(0)
    texts = [
        form(s, rng)
        for s, form in zip(SCENES[:40], [full_text, class_text, partial_text, partial_text] * 10, strict=True)
    ]
    right = true_of([t.told for t in texts], values)
    for j, told in enumerate(texts):
        for i in range(40):
            agree = all(values[i, k] == values[j, k] for k in told.told)
            assert bool(right[i, j]) == agree
    assert right.diagonal().all()


def test_told_attributes_occur_in_the_text() -> None:
    rng = random.Random(3)
    for scene in SCENES[:60]:
        told = partial_text(scene, rng)
        seen = {k for k, ok in named(scene, told.text).items() if ok}
        names = list(ATTRIBUTES)
        assert {names[k] for k in told.told} - {"size", "part"} <= seen | {"texture"}


def test_the_contrastive_loss_of_perfect_pairs_is_the_entropy_of_their_targets() -> None:
    """With two equal texts among four, a large scale leaves log 2 in the two shared rows and columns: (2 log 2) / 4."""
    codes = torch.eye(4)[[0, 0, 1, 2]]
    right = codes @ codes.T > 0
    loss = contrastive_loss(codes, codes, right, torch.tensor(100.0))
    assert loss.item() == pytest.approx(2 * np.log(2) / 4, abs=1e-5)


def test_general_captions_are_the_grammar_that_the_data_set_uses() -> None:
    assert full_text(SCENES[0], random.Random(0)).text == general_caption(SCENES[0])
