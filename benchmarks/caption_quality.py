"""What a CLIP-score threshold drops, against dropping as many captions by lot; and how long 100,000 captions take.

The embedded VLM answers a targeted prompt about scenes whose true attributes are known; a caption is wrong when it does
not name colour, texture and shape. Prints the share of wrong captions among the dropped ones over their share among all
(what a lot would drop), and the area under the ROC curve. The time of the measures is told beside that of captioning.
"""

import random
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from orchestrator.captioners import TransformersCaptionerSettings, Visit
from orchestrator.captioners.prompts import PROMPTS, inject_class
from orchestrator.captioners.quality_thresholds import CaptionThresholds
from orchestrator.datasets.index import decode_rgb
from orchestrator.datasets.shapes import ShapesSettings, png_of
from orchestrator.datasets.shapes_grammar import CLASS_NAMES
from orchestrator.evaluation.caption_quality import clip_scores, cosines, measure_captions
from orchestrator.evaluation.caption_summary import summarise
from orchestrator.evaluation.caption_thresholds import apply_thresholds
from orchestrator.teachers import OpenClipSettings

NUM_SCENES, AT_ONCE, NUM_CAPTIONS, NUM_CLASSES, DIM = 1200, 48, 100_000, 1000, 512
DROPPED_FRACTION = 0.1


def threshold_against_lot() -> float:
    """Print what the threshold drops; returns the captions made in a second."""
    world = ShapesSettings(seed=2026, num_select_per_class=NUM_SCENES // 48)
    rows = list(world.scenes("select"))
    names = list(CLASS_NAMES[: world.num_classes])
    images = [decode_rgb(png_of(scene)) for _, _, scene in rows]
    captioner = TransformersCaptionerSettings(model="embedded:tiny_vlm", max_new_tokens=40).build()
    visits = [
        Visit(image, (inject_class(PROMPTS["targeted_1"], names[label]),))
        for image, (_, label, _) in zip(images, rows, strict=True)
    ]
    started = time.perf_counter()
    answers: list[str] = []
    for start in range(0, len(visits), AT_ONCE):
        answers += [str(found[0]) for found in captioner.caption(visits[start : start + AT_ONCE])]
    speed = len(visits) / (time.perf_counter() - started)
    encoder = OpenClipSettings()
    encode, look = encoder.build_text(), encoder.build_image()
    parts = range(0, len(rows), 200)
    texts = np.concatenate([encode(answers[start : start + 200]) for start in parts])
    seen = np.concatenate([look(images[start : start + 200])["embedding"] for start in parts])
    cosine = cosines(texts, np.arange(len(rows)), seen, np.arange(len(rows)))
    wrong = np.array(
        [
            not {scene.attributes.colour, scene.attributes.texture, scene.attributes.shape}
            <= set(text.replace(",", " ").replace(".", " ").split())
            for (_, _, scene), text in zip(rows, answers, strict=True)
        ]
    )
    bound = float(np.quantile(clip_scores(cosine), DROPPED_FRACTION))
    labels = np.array([label for _, label, _ in rows])
    verdict = apply_thresholds(CaptionThresholds(min_clip_score=bound), answers, labels, names, cosine)
    among_dropped, among_all = wrong[verdict.dropped].mean(), wrong.mean()
    print(f"{len(rows)} captions, {100 * among_all:.1f} % wrong; min_clip_score {bound:.3f}", end=" ")
    print(f"drops {verdict.dropped.sum()}, {100 * among_dropped:.1f} % of them wrong,", end=" ")
    print(f"and leaves {100 * wrong[verdict.kept].mean():.1f} % wrong; by lot {100 * among_all:.1f} % would stay wrong")
    print(f"ratio {among_dropped / among_all:.2f} (wrong among dropped, against dropping by lot)")
    print(f"area under the ROC curve {roc_auc_score(~wrong, cosine):.3f} (by lot 0.5)")
    return speed


def time_of_measures() -> float:
    """Seconds for 100,000 captions of 8 to 30 words and 1,000 classes, sums by class included."""
    lot = random.Random(0)
    words = [f"word{number}" for number in range(5000)]
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, NUM_CAPTIONS)
    names = [f"kind_{number}x" for number in range(NUM_CLASSES)]
    captions = [" ".join(lot.choices(words, k=lot.randint(8, 30))) + "." for _ in range(NUM_CAPTIONS)]
    vectors = np.random.default_rng(1).standard_normal((NUM_CAPTIONS, DIM), dtype=np.float32)
    started = time.perf_counter()
    cosine = cosines(vectors, np.arange(NUM_CAPTIONS), vectors[::-1], np.arange(NUM_CAPTIONS))
    prompts = ["general"] * NUM_CAPTIONS
    measured = measure_captions(captions, prompts, labels, names, cosine)
    summarise(measured.assign(prompt=prompts, label=labels), ["prompt", "label"])
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    speed = threshold_against_lot()
    seconds = time_of_measures()
    print(f"measures of {NUM_CAPTIONS:,} captions {seconds:.1f} s; the embedded VLM writes {speed:.0f} captions/s")
    print(f"ratio {NUM_CAPTIONS / seconds / speed:.0f} (captions measured in the time of one written, one process)")


if __name__ == "__main__":
    main()
