"""What the tuning of an image teacher reads: views of images for its encoder, or rows that the encoder has given.

Reads an index's images, or memory-mapped rows. Knows nothing of losses.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from orchestrator.artifacts.storage import read_table
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.draws import image_keys
from orchestrator.training.teacher_views import LiveTeacher
from orchestrator.vocabulary import SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.training.tune import TuningJob

NUM_READERS = 4  # batches that are read and rendered ahead, each in a thread
Indices = npt.NDArray[np.int64]
Read = Callable[[], Tensor]


def in_turn(readers: Iterable[tuple[Indices, Read]]) -> Iterator[tuple[Indices, Tensor]]:
    """What the readers give, in order; the next ones are at work meanwhile."""
    with ThreadPoolExecutor(NUM_READERS) as threads:
        waiting: deque[tuple[Indices, Future[Tensor]]] = deque()
        for rows, read in readers:
            waiting.append((rows, threads.submit(read)))
            if len(waiting) > NUM_READERS:
                first, future = waiting.popleft()
                yield first, future.result()
        for rows, future in waiting:
            yield rows, future.result()


@dataclass(frozen=True)
class Pictures:
    """Views of the training images and selection images as they are, through an encoder that may learn.

    Attributes:
        labels: [N] of each split.
        dim: of the embedding.
    """

    encoder: Any
    addresses: Mapping[str, Sequence[tuple[str, int, int]]]
    labels: Mapping[str, Indices]
    image_ids: Sequence[str]
    views: LiveTeacher
    dim: int

    @classmethod
    def open(cls, job: "TuningJob") -> Self:
        """The encoder in float32 and the images of the index."""
        changes = {
            "outputs": (EMBEDDING,),
            **({"dtype": "float32"} if "dtype" in type(job.encoder).model_fields else {}),
        }
        encoder: Any = job.encoder.model_copy(update=changes).build_image()
        addresses, labels, ids = _images(Path(job.images))
        live = LiveTeacher(encoder, addresses[SPLIT_TRAIN], image_keys(ids), job.recipe)
        return cls(encoder, addresses, labels, ids, live, encoder.info["dims"][EMBEDDING][0])

    @property
    def module(self) -> nn.Module | None:
        """What is trained besides the head."""
        module: nn.Module = self.encoder.module
        return module

    def reader(self, split: str, rows: Indices, view: int | None) -> Read:
        """Reads pixels [n, 3, H, W] of these images of a split, or of a view of these training images."""

        def read() -> Tensor:
            if view is not None:
                pictures = self.views.pictures(rows, view)
            else:
                pictures = [decode_rgb(read_image_bytes(*self.addresses[split][row])) for row in rows]
            pixels: Tensor = self.encoder.preprocess(pictures)
            return pixels

        return read

    def embed(self, inputs: Tensor) -> Tensor:
        """Pixels -> unit embeddings [n, e], with gradient to the encoder."""
        embedding: Tensor = self.encoder.forward(inputs)[EMBEDDING]
        return embedding


@dataclass(frozen=True)
class KeptRows:
    """The unit embeddings that an encoder has given: of views of training images [V * N, e], of selection images."""

    rows: Mapping[str, npt.NDArray[Any]]
    labels: Mapping[str, Indices]
    image_ids: Sequence[str]
    dim: int

    @classmethod
    def open(cls, job: "TuningJob") -> Self:
        """The rows of a job, memory-mapped."""
        assert job.rows is not None
        _, labels, ids = _images(Path(job.images))
        folder = Path(job.rows)
        rows = {s: np.load(folder / f"{s}.npy", mmap_mode="r", allow_pickle=False) for s in (SPLIT_TRAIN, SPLIT_SELECT)}
        return cls(rows, labels, ids, rows[SPLIT_TRAIN].shape[1])

    @property
    def module(self) -> nn.Module | None:
        """Nothing is trained besides the head."""
        return None

    def reader(self, split: str, rows: Indices, view: int | None) -> Read:
        """Reads the rows of these images, or of a view of them."""
        at = rows + (view or 0) * len(self.labels[split])
        at = at % len(self.rows[split])  # without kept views there is one row of each image
        return lambda: torch.from_numpy(self.rows[split][at].astype(np.float32))

    def embed(self, inputs: Tensor) -> Tensor:
        """They are embeddings already."""
        return inputs


def _images(path: Path) -> tuple[dict[str, list[tuple[str, int, int]]], dict[str, Indices], list[str]]:
    """Addresses and labels of the training and the selection images, and the training images' ids."""
    table = read_table(path)
    splits = np.asarray(table["split"].to_pylist(), dtype=object)
    labels = table["label"].to_numpy().astype(np.int64)
    every = list(zip(*(table[name].to_pylist() for name in ("path", "offset", "size")), strict=True))
    where = {split: np.flatnonzero(splits == split) for split in (SPLIT_TRAIN, SPLIT_SELECT)}
    ids = table["image_id"].to_pylist()
    return (
        {split: [every[row] for row in rows] for split, rows in where.items()},
        {split: labels[rows] for split, rows in where.items()},
        [ids[row] for row in where[SPLIT_TRAIN]],
    )
