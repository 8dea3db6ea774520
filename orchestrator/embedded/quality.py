"""How good the shipped teachers are, measured through the public interfaces that load them, and the table QUALITY.md.

Zero-shot accuracy of the tiny CLIP on selection splits of the data set, and the share of the tiny VLM's answers that
name the right value of each attribute on scenes that no training touched. Reads the weight folders; writes nothing
(returns the numbers and the text).
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.shapes_grammar import (
    BACKGROUND_PHRASES,
    GENERAL_PROMPT,
    PART_PHRASES,
    TARGETED_PROMPTS,
    Scene,
    general_caption,
    targeted_caption,
)
from orchestrator.datasets.shapes_render import render
from orchestrator.embedded.scene_pool import pool_scene
from orchestrator.embedded.tokenizer import invented_word
from orchestrator.embedded.train_tower import to_input
from orchestrator.embedded.train_vlm import answer

Progress = Callable[[int, int, str], None]


@torch.no_grad()
def zero_shot(folder: Path, settings: ShapesSettings) -> float:
    """Balanced accuracy 0..1 on the selection split, classes told by their attribute descriptions."""
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    texts = model.encode_text(tokenize([a.describe() for a in settings.definitions()]), normalize=True)
    scenes = list(settings.scenes("select"))
    right = 0
    for start in range(0, len(scenes), 200):
        rows = scenes[start : start + 200]
        images = model.encode_image(to_input(np.stack([render(s) for _, _, s in rows])), normalize=True)
        right += int(((images @ texts.T).argmax(1) == torch.tensor([label for _, label, _ in rows])).sum())
    return right / len(scenes)


def named(scene: Scene, text: str) -> dict[str, bool]:
    """Which of the scene's attributes a general caption names rightly."""
    a = scene.attributes
    words = text.replace(",", " ").replace(".", " ").split()
    return {
        "shape": a.shape in words,
        "colour": a.colour in words,
        "texture": a.texture in words,
        "part": PART_PHRASES[a.part] in text,
        "size": scene.size in words[:2],
        "place": scene.place in text,
        "background": BACKGROUND_PHRASES[scene.background] in text,
        "neighbour": scene.neighbour in words,
    }


def caption_quality(folder: Path, *, num_scenes: int, progress: Progress) -> dict[str, float]:
    """Shares 0..1: each attribute in general captions, whole captions, and right targeted answers (invented names)."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    scenes = [pool_scene(i, "unseen") for i in range(num_scenes)]
    pixels = [render(s) for s in scenes]
    rng = random.Random(1)
    prompts: dict[str, list[str]] = {"general": [GENERAL_PROMPT] * num_scenes}
    for kind, template in TARGETED_PROMPTS.items():
        prompts[kind] = [template.format_map({"class": invented_word(rng)}) for _ in scenes]
    result: dict[str, float] = {}
    for done, (kind, asked) in enumerate(prompts.items()):
        answers = answer(model, processor, pixels, asked)
        if kind == "general":
            checks = [named(s, t) for s, t in zip(scenes, answers, strict=True)]
            result |= {f"general names the {k}": _share([c[k] for c in checks]) for k in checks[0]}
            result["general wholly right"] = _share(
                [t == general_caption(s) for s, t in zip(scenes, answers, strict=True)]
            )
            result["general unique captions"] = len(set(answers)) / num_scenes
        else:
            right = [t == targeted_caption(s, kind) for s, t in zip(scenes, answers, strict=True)]
            result[f"{kind} wholly right"] = _share(right)
        progress(done + 1, len(prompts), kind)
    return result


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def tower_accuracies(accuracy: dict[str, float]) -> str:
    """One line for the log."""
    return ", ".join(f"{k} {v:.3f}" for k, v in accuracy.items())


def table(rows: dict[str, str]) -> str:
    """A Markdown table of names and values."""
    return "\n".join(["| what | value |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in rows.items())]) + "\n"


def folder_mebibytes(folder: Path) -> float:
    """Size of all files below a folder, in MiB."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20


def render_check(num_scenes: int) -> tuple[NDArray[np.uint8], list[Scene]]:
    """Unseen pictures and their scenes, for the tower's own accuracy."""
    scenes = [pool_scene(i, "unseen") for i in range(num_scenes)]
    return np.stack([render(s) for s in scenes]), scenes


def measure(output: Path, *, dataset_seeds: Sequence[int], num_scenes: int, progress: Progress) -> dict[str, Any]:
    """All numbers of QUALITY.md that depend on the weights alone."""
    numbers: dict[str, Any] = {}
    for seed in dataset_seeds:
        numbers[f"tiny CLIP zero-shot, selection split, data set seed {seed}"] = zero_shot(
            output / "tiny_clip", ShapesSettings(seed=seed)
        )
    captions = caption_quality(output / "tiny_vlm", num_scenes=num_scenes, progress=progress)
    numbers |= {f"tiny VLM {k}, {num_scenes} unseen scenes": v for k, v in captions.items()}
    return numbers
