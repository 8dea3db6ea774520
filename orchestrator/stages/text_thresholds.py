"""Drops from an embeddings folder the texts that their sources' thresholds refuse: their rows become -1.

Reads `text_rows.parquet`, the vectors of texts and training images of a folder that is filled but not finished;
writes `text_rows.parquet` again, `dropped_texts.parquet` (which captions, and why) and `text_thresholds.json` (how
many). Knows nothing of encoders and of how the folder was filled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.storage import read_table, write_json, write_table
from orchestrator.captioners.texts import CaptionText
from orchestrator.datasets.index import DatasetIndex
from orchestrator.errors import DataError
from orchestrator.evaluation.caption_quality import Integers, cosines
from orchestrator.evaluation.caption_thresholds import Verdict, apply_thresholds
from orchestrator.evaluation.shot_accuracy import as_percent, shot_groups
from orchestrator.stages.context import Context, Counts
from orchestrator.stages.texts import permuted, texts_of
from orchestrator.vocabulary import SPLIT_TRAIN

TEXT_ROWS, DROPPED, THRESHOLDS = "text_rows.parquet", "dropped_texts.parquet", "text_thresholds.json"
GROUPS = ("many", "medium", "few")


def apply(context: Context, folder: Path, data: DatasetIndex, captions: pa.Table) -> Counts:
    """Apply the thresholds of every caption source that has some; returns counts of what was dropped, by first reason.

    A permuted source is judged before it is permuted: each caption by its own image. Without thresholds nothing is
    read or written.

    Raises:
        DataError: a source is left without any text.
    """
    catalogue = context.experiment.texts.items()
    sources = {name: text for name, text in catalogue if isinstance(text, CaptionText) and _in_use(text)}
    if not sources:
        return {}
    made = Embeddings(folder, context.hot_copies)
    train = data.images.filter(pc.equal(data.images["split"], SPLIT_TRAIN))
    rows = read_table(folder / TEXT_ROWS)
    assert rows["image_id"].equals(train["image_id"]), "text rows are those of the training images, in index order"
    labels = train["label"].to_numpy()
    groups = np.array(shot_groups(data.class_counts(SPLIT_TRAIN)))[labels]
    counts: Counts = {}
    told: dict[str, Any] = {}
    dropped: list[dict[str, Any]] = []
    for name, text in sources.items():
        column = rows[name].to_numpy()
        origin = origins(text, labels.tolist())
        own = own_rows(column, origin)
        verdict = _judge(text, made, train, data.classes, captions, own)
        told[name] = _told(text, verdict, groups)
        if not verdict.kept.any():
            failing = ", ".join(f"{reason} {number:,}" for reason, number in told[name]["fails"].items())
            raise DataError(
                f"texts.{name}.thresholds drop every one of {told[name]['captions']:,} captions (fail: {failing})",
                expected="at least one caption that is good enough",
                remedy=f"loosen them; `orchestrator quality SHEET texts.{name}.thresholds=null` shows the measures",
            )
        kept = pa.array(np.where(verdict.kept[origin], column, -1), rows[name].type)
        rows = rows.set_column(rows.column_names.index(name), name, kept)
        dropped += _named(name, verdict, train["image_id"].to_pylist(), own)
        reasons = told[name]["first_failed"]
        counts |= {f"{name}_dropped": told[name]["dropped"]}
        counts |= {f"{name}_dropped_{reason}": number for reason, number in reasons.items()}
        context.feedback.event("embed", f"{name}: {in_words(told[name])}")
    write_table(folder / TEXT_ROWS, rows)
    write_table(folder / DROPPED, pa.Table.from_pylist(dropped, schema=DROPPED_SCHEMA))
    write_json(folder / THRESHOLDS, told)
    return counts


DROPPED_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),  # the image that the caption was written of
        pa.field("text_row", pa.int64(), nullable=False),  # its embedding's row of the text vectors
        pa.field("fails", pa.list_(pa.string()), nullable=False),  # every threshold that it fails, in their order
    ]
)


def _in_use(text: CaptionText) -> bool:
    return text.thresholds is not None and bool(text.thresholds.in_use())


def origins(text: CaptionText, labels: list[int]) -> npt.NDArray[np.int64]:
    """For each training image, the row of the image whose caption it gets: its own, unless captions are permuted."""
    return np.array(permuted(list(range(len(labels))), labels, text.permute, text.permute_seed), np.int64)


def own_rows(column: Integers, origin: Integers) -> Integers:
    """Text rows by the image that each caption was written of, from those by the image that it was given to."""
    own = np.empty_like(column)
    own[origin] = column
    return own


def joint_vectors(made: Embeddings) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Memory-mapped vectors of the texts [T, e] and of the training images [N, e], of one encoder for both."""
    texts = made.vectors("texts")
    assert texts is not None, "the embed stage always makes texts"
    return texts, made.open(f"images/{SPLIT_TRAIN}/embedding").array


def _judge(
    text: CaptionText, made: Embeddings, train: pa.Table, classes: pa.Table, captions: pa.Table, own: Integers
) -> Verdict:
    assert text.thresholds is not None
    groups = texts_of(text.model_copy(update={"permute": "none"}), train, classes, captions)
    said = [group[0] if isinstance(group, tuple) else None for group in groups]  # a caption source joins its answers
    cosine = None
    if text.thresholds.min_clip_score is not None:
        texts, images = joint_vectors(made)
        cosine = cosines(texts, own, images, np.arange(len(own)))
    return apply_thresholds(text.thresholds, said, train["label"].to_numpy(), classes["name"].to_pylist(), cosine)


def _named(source: str, verdict: Verdict, image_ids: list[str], own: Integers) -> list[dict[str, Any]]:
    return [
        {
            "source": source,
            "image_id": image_ids[row],
            "text_row": int(own[row]),
            "fails": [name for name, mask in verdict.fails.items() if mask[row]],
        }
        for row in np.flatnonzero(verdict.dropped).tolist()
    ]


def _told(text: CaptionText, verdict: Verdict, groups: Any) -> dict[str, Any]:
    """How many captions a source had and lost: by threshold, and by frequency group of the image's class."""
    assert text.thresholds is not None
    return {
        "prompt": " + ".join(text.prompts()),
        "thresholds": text.thresholds.in_use(),
        "captions": int(verdict.present.sum()),
        "dropped": int(verdict.dropped.sum()),
        "fails": {name: int(mask.sum()) for name, mask in verdict.fails.items()},
        "first_failed": {name: int(mask.sum()) for name, mask in verdict.first_failed().items()},
        "groups": {
            group: {
                "captions": int(verdict.present[groups == group].sum()),
                "dropped": int(verdict.dropped[groups == group].sum()),
            }
            for group in GROUPS
        },
    }


def in_words(told: dict[str, Any]) -> str:
    """One line: how many captions were dropped, why, and which share of each frequency group."""
    reasons = ", ".join(f"{name} {number:,}" for name, number in told["first_failed"].items())
    shares = []
    for group, found in told["groups"].items():
        share = found["dropped"] / found["captions"] if found["captions"] else float("nan")
        percent = as_percent(share)
        shares.append(f"{group.capitalize()} {percent}{'' if percent == 'n/a' else ' %'}")
    return f"{told['dropped']:,} of {told['captions']:,} captions dropped ({reasons}); {', '.join(shares)}"
