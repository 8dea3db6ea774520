"""What a student's training reads: memory-mapped pixels, labels, and the teacher's rows joined by image.

Reads the `shards` and `embeddings` artifacts. Knows nothing of how they were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import TEXT_ROWS, Embeddings
from orchestrator.artifacts.storage import read_table
from orchestrator.teachers.encoder import EMBEDDING, LOGITS
from orchestrator.training.views import image_keys

Vectors = npt.NDArray[Any]


@dataclass(frozen=True)
class SplitData:
    """Images and labels of one split: pixels [N, S, S, 3] uint8 (memory-mapped), labels [N] int64, ids, keys [N]."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    image_ids: Sequence[str]
    keys: npt.NDArray[np.uint64]


def load_split(shards: Path, split: str) -> SplitData:
    """One split of a `shards` artifact."""
    rows = read_table(shards / f"{split}.parquet")
    ids = rows["image_id"].to_pylist()
    pixels = np.load(shards / f"{split}.npy", mmap_mode="r", allow_pickle=False)
    return SplitData(pixels, rows["label"].to_numpy().astype(np.int64), ids, image_keys(ids))


@dataclass(frozen=True)
class TeacherData:
    """Teacher rows of the training split, joined by image.

    Attributes:
        text_vectors: [T, e] unit embeddings of the unique texts.
        text_ids: [N, Q] row of each image's text for each text source, -1 = missing.
        image_vectors: [N, D] unit teacher image embeddings, or None.
        class_vectors: [C, e] unit embeddings of the class texts that make the teacher's class logits, or None.
        logit_scale: scale of cosines in the teacher's class logits.
        image_outputs: every output of the image teacher by name: [N, ...] rows of the images.
        num_classes: of the data set; a teacher's own classifier is its class logits where it has so many classes.
    """

    text_vectors: Vectors
    text_ids: npt.NDArray[np.int64]
    image_vectors: Vectors | None
    class_vectors: Vectors | None
    logit_scale: float
    image_outputs: Mapping[str, Vectors] = field(default_factory=dict)
    num_classes: int | None = None

    def inputs(self, rows: npt.NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """The teacher's part of a batch for these images, by vocabulary name."""
        ids = self.text_ids[rows]
        batch: dict[str, torch.Tensor] = {}
        if ids.shape[1]:
            text = self.text_vectors[np.maximum(ids, 0)].astype(np.float32)
            text[ids < 0] = 0.0
            batch[vocabulary.TEXT] = torch.from_numpy(text)
            batch[vocabulary.TEXT_ID] = torch.from_numpy(ids)
        if self.image_vectors is not None:
            image = torch.from_numpy(self.image_vectors[rows].astype(np.float32))
            batch[vocabulary.TEACHER_IMAGE] = image
            if self.class_vectors is not None:
                classes = torch.from_numpy(np.array(self.class_vectors, np.float32))
                batch[vocabulary.TEACHER_LOGITS] = self.logit_scale * image @ classes.T
            elif (logits := self.image_outputs.get(LOGITS)) is not None and logits.shape[1] == self.num_classes:
                batch[vocabulary.TEACHER_LOGITS] = torch.from_numpy(logits[rows].astype(np.float32))
        return batch


def load_teacher(
    folder: Path, texts: Sequence[str], hot_copies: Path | None = None, num_classes: int | None = None
) -> TeacherData:
    """The `embeddings` artifact for the training split, with the named text sources in this order.

    The arrays are hot copies, mapped and not read; one that is missing on this node is built from its store.
    """
    embeddings = Embeddings(folder, hot_copies)
    rows = read_table(folder / TEXT_ROWS)
    columns = [rows[name].to_numpy().astype(np.int64) for name in texts]
    ids = np.stack(columns, axis=1) if columns else np.zeros((rows.num_rows, 0), np.int64)
    prefix = f"images/{vocabulary.SPLIT_TRAIN}/"
    names = [name for name in embeddings.header.arrays if name.startswith(prefix)]
    outputs = {name.removeprefix(prefix): embeddings.open(name).array for name in names}
    text_vectors = embeddings.vectors("texts")
    assert text_vectors is not None, "the embed stage always makes texts"
    return TeacherData(
        text_vectors=text_vectors,
        text_ids=ids,
        image_vectors=outputs.get(EMBEDDING),
        class_vectors=embeddings.vectors("classes"),
        logit_scale=embeddings.header.logit_scale,
        image_outputs=outputs,
        num_classes=num_classes,
    )
