"""How good a teacher of the embedded world is, measured through the encoder it is loaded as.

Reads nothing but what the encoders hold; scenes are drawn. Knows nothing of how teachers are made.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.shapes_grammar import general_caption
from orchestrator.datasets.shapes_render import render
from orchestrator.embedded.scene_pool import pool_scene
from orchestrator.teachers.encoder import FEATURE, ImageEncoder, TextEncoder

DATASET = ShapesSettings()
Numbers = dict[str, float]


def text_numbers(encode: TextEncoder, num_check: int) -> Numbers:
    """Share of paraphrases nearest to their own caption among all, and of captions nearest to their class's text."""
    import random

    from orchestrator.embedded.train_sentences import paraphrase

    rng, scenes = random.Random(2), [pool_scene(i, "unseen") for i in range(num_check)]
    captions = encode([general_caption(scene) for scene in scenes])
    said = encode([paraphrase(scene, frozenset(range(8)), rng) for scene in scenes])
    rows = list(DATASET.scenes("select"))
    classes = encode([each.describe() for each in DATASET.definitions()])
    of_images = np.concatenate(
        [encode([general_caption(s) for _, _, s in rows[at : at + 256]]) for at in range(0, len(rows), 256)]
    )
    labels = np.array([label for _, label, _ in rows])
    return {
        f"a paraphrase is nearest to its own caption among {len(scenes)}": float(
            ((said @ captions.T).argmax(1) == np.arange(len(scenes))).mean()
        ),
        "a true caption is nearest to its class's description, selection split": float(
            ((of_images @ classes.T).argmax(1) == labels).mean()
        ),
    }


def zero_shot(texts: TextEncoder, images: ImageEncoder, num_check: int) -> Numbers:
    """Balanced accuracy on the selection split by class descriptions, through the kind's own loading code."""
    rows = list(DATASET.scenes("select"))[:: 1 if num_check >= 1000 else 8]
    classes = texts([each.describe() for each in DATASET.definitions()])
    seen = encoded(images, [render(scene) for _, _, scene in rows], "embedding")
    hits = (seen @ classes.T).argmax(1) == np.array([label for _, label, _ in rows])
    return {f"zero-shot on {len(rows)} images of the selection split": float(hits.mean())}


def encoded(encoder: ImageEncoder, pixels: Sequence[Any], output: str) -> Any:
    """One output of pictures uint8 [64, 64, 3]."""
    from PIL import Image

    parts = [[Image.fromarray(p) for p in pixels[at : at + 128]] for at in range(0, len(pixels), 128)]
    return np.concatenate([encoder(part)[output] for part in parts])


def probe(encoder: ImageEncoder, num_check: int) -> Numbers:
    """Accuracy of a ridge classifier of each attribute: fitted on features of unseen scenes, told on as many others."""
    from orchestrator.embedded.quality import render_check
    from orchestrator.embedded.train_tower import ATTRIBUTES, value_indices

    pixels, scenes = render_check(2 * num_check)
    x = encoded(encoder, list(pixels), FEATURE).astype(np.float64)
    x = (x - x[:num_check].mean(0)) / (x[:num_check].std(0) + 1e-6)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    values = np.array([value_indices(scene) for scene in scenes])
    gram = x[:num_check].T @ x[:num_check] + 0.01 * num_check * np.eye(x.shape[1])
    found = {}
    for at, (name, known) in enumerate(ATTRIBUTES.items()):
        weights = np.linalg.solve(gram, x[:num_check].T @ np.eye(len(known))[values[:num_check, at]])
        found[f"linear probe, {name}"] = float(((x[num_check:] @ weights).argmax(1) == values[num_check:, at]).mean())
    return found
