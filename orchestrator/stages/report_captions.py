"""The report's part on captions: quality tables, histograms, what thresholds dropped, and a gallery of thumbnails.

Reads the artifacts of captions, embeddings and quality, and a few images. Writes nothing. Knows nothing of HTML.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.datasets.index import DatasetIndex
from orchestrator.evaluation.caption_summary import choose_examples, worst_classes
from orchestrator.reporting.caption_quality import (
    FLAG_WORDS,
    CaptionCard,
    CaptionQuality,
    ClassQuality,
    Histogram,
    PromptQuality,
    SourceThresholds,
)
from orchestrator.stages import caption, quality, text_thresholds
from orchestrator.stages.context import Plan
from orchestrator.stages.thumbnails import thumbnail
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    import pandas as pd

NUM_WORST = 10
NUM_EACH, NUM_RANDOM = 2, 4  # gallery images of a group: best, median and worst, and by lot
THUMBNAIL_PX = 160
MAX_GALLERY_BYTES = 2 * 1024 * 1024
MAX_SHOWN_CHARACTERS = 600


def collect(
    plans: Mapping[str, Plan], data: DatasetIndex, max_gallery_bytes: int = MAX_GALLERY_BYTES
) -> tuple[CaptionQuality, tuple[CaptionCard, ...]]:
    """The sums to show, and the gallery's cards, whose thumbnails and texts take at most `max_gallery_bytes`."""
    measured, sums = quality.load(plans["quality"])
    cards, shown_of = _cards(plans["caption"], data, measured, max_gallery_bytes)
    notes = list(sums["unscored"])
    if len(cards) < shown_of:
        notes.append(f"The gallery shows {len(cards)} of {shown_of} chosen images, to keep this file small.")
    found = CaptionQuality(
        prompts=tuple(_prompts(sums)),
        worst=tuple(_worst(sums, data)),
        words=_histogram(sums, "words"),
        clip_scores=_histogram(sums, "clip_score"),
        thresholds=tuple(_thresholds(plans["embed"])),
        class_in_prompt=tuple(sums["class_in_prompt"]),
        notes=tuple(notes),
    )
    return found, tuple(cards)


def _prompts(sums: Mapping[str, Any]) -> list[PromptQuality]:
    order = [quality.ALL, *text_thresholds.GROUPS]
    return [
        PromptQuality(prompt, group.capitalize(), of["images"], of["captions"], _values(of))
        for prompt, groups in sums["prompts"].items()
        for group, of in sorted(groups.items(), key=lambda item: order.index(item[0]))
    ]


def _worst(sums: Mapping[str, Any], data: DatasetIndex) -> list[ClassQuality]:
    import pandas as pd

    names, counts = data.classes["name"].to_pylist(), data.class_counts(SPLIT_TRAIN)
    found = []
    for prompt, rows in sums["classes"].items():
        by_class = pd.DataFrame([_values(row) for row in rows], index=[row["label"] for row in rows])
        for label, row in worst_classes(by_class, NUM_WORST).iterrows():
            assert isinstance(label, int)
            values = {str(name): float(value) for name, value in row.items()}
            found.append(ClassQuality(prompt, names[label], counts[label], int(values["captions"]), values))
    return found


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float("nan") if value is None else float(value) for name, value in row.items()}


def _histogram(sums: Mapping[str, Any], name: str) -> Histogram:
    found = sums["histograms"][name]
    return Histogram(tuple(found["edges"]), {prompt: tuple(shares) for prompt, shares in found["shares"].items()})


def _thresholds(embed: Plan) -> list[SourceThresholds]:
    path = embed.folder / text_thresholds.THRESHOLDS
    if not path.is_file():
        return []
    return [
        SourceThresholds(
            source=source,
            prompt=told["prompt"],
            thresholds=told["thresholds"],
            captions=told["captions"],
            dropped=told["dropped"],
            fails=told["fails"],
            groups={group: (of["captions"], of["dropped"]) for group, of in told["groups"].items()},
        )
        for source, told in read_json(path).items()
    ]


def _cards(
    captions: Plan, data: DatasetIndex, measured: "pd.DataFrame", max_bytes: int
) -> tuple[list[CaptionCard], int]:
    """Cards of the most and the least frequent group that has captions, and how many were chosen."""
    existing = [group for group in text_thresholds.GROUPS if (measured["group"] == group).any()]
    groups = list(dict.fromkeys([*existing[:1], *existing[-1:]]))
    examples = choose_examples(measured, groups, num_each=NUM_EACH, num_random=NUM_RANDOM)
    wanted = pa.array([example.image_id for example in examples], pa.string())
    images = {row["image_id"]: row for row in data.images.filter(pc.is_in(data.images["image_id"], wanted)).to_pylist()}
    table = read_table(captions.folder / caption.CAPTIONS, columns=["image_id", "prompt", "caption"])
    said = table.filter(pc.is_in(table["image_id"], wanted)).to_pylist()
    rows = measured[measured["image_id"].isin([example.image_id for example in examples])]
    names = data.classes["name"].to_pylist()
    cards: list[CaptionCard] = []
    size = 0
    for image_id, group, why in examples:
        own = rows[rows["image_id"] == image_id].set_index("prompt")
        image = images[image_id]
        picture = thumbnail(image, THUMBNAIL_PX)
        card = CaptionCard(
            image_data_uri=picture,
            class_name=names[image["label"]],
            split=image["split"],
            texts={row["prompt"]: _shortened(row["caption"]) for row in said if row["image_id"] == image_id},
            oracle=image["oracle_caption"],
            flags={str(prompt): _flags(row) for prompt, row in own.iterrows()},
            scores={str(prompt): float(score) for prompt, score in own["clip_score"].items() if not np.isnan(score)},
            chosen=f"{group.capitalize()}, {why}",
        )
        size += len(picture) + sum(len(text.encode()) for text in card.texts.values())
        if size > max_bytes:
            break
        cards.append(card)
    return cards, len(examples)


def _flags(row: Any) -> tuple[str, ...]:
    """What is to be said of a caption; one of another class was of course said of another image, too."""
    hidden = {"duplicate"} if row["duplicate_across_classes"] else set()
    return tuple(name for name in FLAG_WORDS if row[name] and name not in hidden)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]} […]"
