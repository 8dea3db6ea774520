"""The report's part on confused classes: which classes a student does worst on, what it takes them for, and pictures.

Reads the predictions of an evaluation and a few images. Writes nothing. Knows nothing of HTML.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.storage import read_table
from orchestrator.datasets.index import DatasetIndex
from orchestrator.reporting.sections import Mistakes, Picture, WorstClass
from orchestrator.stages.context import Plan
from orchestrator.stages.evaluate import PREDICTIONS
from orchestrator.stages.thumbnails import thumbnail
from orchestrator.vocabulary import SPLIT_TRAIN

NUM_WORST = 8
NUM_WRONG, NUM_RIGHT = 5, 1  # pictures of a class
MOST_TAKEN_FOR = 10  # classes kept of those that a class is taken for
THUMBNAIL_PX = 96
MAX_PICTURE_BYTES = 2 * 1024 * 1024  # of all arms together


def collect(
    plans: Mapping[str, Plan], arms: Sequence[str], data: DatasetIndex, max_bytes: int = MAX_PICTURE_BYTES
) -> tuple[Mistakes, ...]:
    """The worst classes of every arm that classifies; pictures take at most `max_bytes` together, shared equally."""
    files = {arm: plans[f"evaluate/{arm}"].folder / PREDICTIONS for arm in arms}
    told = {arm: read_table(file).to_pylist() for arm, file in files.items() if file.is_file()}
    return tuple(_of_arm(arm, rows, data, max_bytes // len(told)) for arm, rows in told.items())


def _of_arm(arm: str, rows: Sequence[Mapping[str, Any]], data: DatasetIndex, max_bytes: int) -> Mistakes:
    names, trained = data.classes["name"].to_pylist(), data.class_counts(SPLIT_TRAIN)
    by_class: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_class.setdefault(row["label"], []).append(row)
    right = {label: sum(row["predicted"] == label for row in mine) for label, mine in by_class.items()}
    order = sorted(by_class, key=lambda label: (right[label] / len(by_class[label]), -len(by_class[label]), label))
    worst = [label for label in order if right[label] < len(by_class[label])][:NUM_WORST]
    shown = {label: _to_show(by_class[label], label) for label in worst}
    images = _images(data, [row["image_id"] for chosen in shown.values() for row in chosen])
    classes, used, left_out = [], 0, 0
    for label in worst:
        pictures = []
        for row in shown[label]:
            uri = thumbnail(images[row["image_id"]], THUMBNAIL_PX)
            used += len(uri)
            if used > max_bytes:
                left_out += 1
                continue
            is_right = row["predicted"] == label
            pictures.append(Picture(uri, names[row["predicted"]], float(row["confidence"]), is_right))
        wrong = Counter(row["predicted"] for row in by_class[label] if row["predicted"] != label)
        taken_for = tuple((names[one], count) for one, count in wrong.most_common(MOST_TAKEN_FOR))
        total = len(by_class[label])
        classes.append(WorstClass(names[label], trained[label], right[label], total, taken_for, tuple(pictures)))
    return Mistakes(arm, tuple(classes), left_out)


def _to_show(rows: Sequence[Mapping[str, Any]], label: int) -> list[Mapping[str, Any]]:
    """The mistakes that the student is surest of, then the right answer that it is surest of."""
    surest = sorted(rows, key=lambda row: (-row["confidence"], row["image_id"]))
    wrong = [row for row in surest if row["predicted"] != label]
    return wrong[:NUM_WRONG] + [row for row in surest if row["predicted"] == label][:NUM_RIGHT]


def _images(data: DatasetIndex, wanted: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found = data.images.filter(pc.is_in(data.images["image_id"], pa.array(wanted, pa.string())))
    return {row["image_id"]: row for row in found.to_pylist()}
