"""What a student's training reads: memory-mapped pixels, labels, and the teacher's rows joined by image.

Reads the `shards` and `embeddings` artifacts. Knows nothing of how they were made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator import vocabulary
from orchestrator.artifacts.storage import read_json, read_table
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
    """

    text_vectors: Vectors
    text_ids: npt.NDArray[np.int64]
    image_vectors: Vectors | None
    class_vectors: Vectors | None
    logit_scale: float

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
        return batch


def load_teacher(embeddings: Path, texts: Sequence[str]) -> TeacherData:
    """The `embeddings` artifact for the training split, with the named text sources in this order."""
    header = read_json(embeddings / "embeddings.json")
    rows = read_table(embeddings / "text_rows.parquet")
    columns = [rows[name].to_numpy().astype(np.int64) for name in texts]
    ids = np.stack(columns, axis=1) if columns else np.zeros((rows.num_rows, 0), np.int64)

    def vectors(name: str) -> Vectors | None:
        path = embeddings / f"{name}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None

    text_vectors = vectors("text_vectors")
    assert text_vectors is not None, "the embed stage writes text_vectors.npy"
    return TeacherData(text_vectors, ids, vectors("image_vectors"), vectors("class_vectors"), header["logit_scale"])
