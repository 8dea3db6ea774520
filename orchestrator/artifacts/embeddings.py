"""The `embeddings` artifact: which rows of which stores an experiment's texts, classes and images stand for.

`texts.parquet`, `classes.parquet` (text, key) and `images.parquet` (image_id, split, key) are the truth, with
`embeddings.json`, which names every array: its table, its store and its column. Where the image teacher saw views of
the training images, `image_views.parquet` (view_id, image_id, key) has those, all images of view 0 first. The arrays
themselves are hot copies in `hot/NAME`, beside the artifact or in a folder of the node, and are built from the stores
when one is missing. Where a source has several texts for an image, or draws vectors, `text_groups.npy` (or
`class_groups.npy`) holds the means.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.hot_copy import HotCopy
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.artifacts.teacher_store import KEY, TeacherStore
from orchestrator.errors import ArtifactError
from orchestrator.frozen import Frozen
from orchestrator.vocabulary import SPLIT_TRAIN

HEADER, HOT = "embeddings.json", "hot"
TEXTS, CLASSES, IMAGES, TEXT_ROWS = "texts.parquet", "classes.parquet", "images.parquet", "text_rows.parquet"
DOMAINS = "domains.parquet"
IMAGE_VIEWS = "image_views.parquet"
GROUPS = {"texts": "text_groups.npy", "classes": "class_groups.npy", "domains": "domain_groups.npy"}


class ArrayOf(Frozen):
    """One array: the rows of a table (of one split, or all), in its order, as one column of a store.

    `store` is relative to the artifact's folder, so that a storage root can be moved as a whole; elsewhere it is a URI.
    """

    table: str
    split: str | None = None
    store: str
    column: str
    dtype: str


class EmbeddingsHeader(Frozen):
    """What `embeddings.json` holds.

    Attributes:
        sources: text sources, the columns of `text_rows.parquet` (row numbers of `vectors("texts")`, -1 = no text).
        logit_scale: of the cosines that are the teacher's class logits.
        arrays: by name: `texts` and `classes` (each text once), `images/SPLIT/OUTPUT`, and `views/OUTPUT`.
        encoders: each encoder's label and what it told of itself (preprocessing, dims, context length).
        views: of the training images that the image teacher saw (`TeacherViews`); None: it saw the images as they are.
            With V views, row `view * N + image` of an array `views/OUTPUT` is of that view of that training image.
    """

    sources: tuple[str, ...]
    logit_scale: float
    arrays: dict[str, ArrayOf]
    encoders: dict[str, dict[str, Any]]
    views: dict[str, Any] | None = None


def text_rows_name(split: str) -> str:
    """The file that tells which text each image of a split has from each source."""
    return TEXT_ROWS if split == SPLIT_TRAIN else f"text_rows_{split}.parquet"


class Embeddings:
    """A finished `embeddings` artifact.

    Args:
        folder: the artifact's.
        hot_copies: a folder of this node for the arrays; None keeps them beside the artifact.
    """

    def __init__(self, folder: Path, hot_copies: Path | None = None) -> None:
        self.folder, self._hot_copies = folder, hot_copies
        self.header = EmbeddingsHeader.model_validate(read_json(folder / HEADER))

    def keys(self, name: str) -> list[str]:
        """The store keys of an array's rows."""
        array = self.header.arrays[name]
        table = read_table(self.folder / array.table)
        if array.split is not None:
            table = table.filter(pc.equal(table["split"], array.split))
        return list(table[KEY].to_pylist())

    def store(self, name: str) -> TeacherStore:
        """The store that holds an array's rows."""
        named = Folder(self.header.arrays[name].store)
        return TeacherStore(named if named.local is None else Path(os.path.normpath(self.folder / named.local)))

    def open(self, name: str) -> HotCopy:
        """The hot copy of an array, built now when it is missing or of other rows.

        Raises:
            ArtifactError: the artifact has no such array.
        """
        if name not in self.header.arrays:
            known = ", ".join(self.header.arrays)
            raise ArtifactError(f"{self.folder} has no array {name}", expected=f"one of {known}")
        array = self.header.arrays[name]
        return HotCopy.build(self.store(name), self.keys(name), array.column, self.place(name), array.dtype)

    def get(self, name: str) -> HotCopy | None:
        """The hot copy of an array, or None when the artifact has no such array."""
        return self.open(name) if name in self.header.arrays else None

    def vectors(self, name: str) -> npt.NDArray[Any] | None:
        """Memory-mapped vectors [G, e] of the groups of texts (`texts`), of each class (`classes`) or of each
        class in each domain (`domains`, a class's domains side by side); None without any.

        A group of one text is that text's row.
        """
        if (path := self.folder / GROUPS[name]).is_file():
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        copy = self.get(name)
        return None if copy is None else copy.array

    def place(self, name: str) -> Path:
        """Where an array's hot copy lies; on a node it is told apart by the artifact's folder."""
        flat = name.replace("/", "-")
        if self._hot_copies is None:
            return self.folder / HOT / flat
        return self._hot_copies / f"{flat}-{fingerprint(str(self.folder.resolve()))[:8]}"

    def verify(self, name: str, sample: int | None = None) -> list[str]:
        """Problems of an array's hot copy, against its store; none when there is no copy, for it would be built."""
        place = self.place(name)
        if not place.is_dir():
            return []
        try:
            copy = HotCopy.open(place)
            if copy.keys() != self.keys(name):
                return [f"{place}: holds other rows than the artifact names"]
            return copy.verify(self.store(name), sample)
        except (ArtifactError, ValueError, OSError) as error:
            return [f"{place}: {error}"]


class ArraysOnDemand(Mapping[str, npt.NDArray[Any]]):
    """The arrays of an artifact below a prefix (as `views/`) by the rest of the name, each opened when it is asked for.

    Opening builds the hot copy where there is none yet, which for tokens is by far the largest array of an experiment.
    """

    def __init__(self, embeddings: Embeddings, prefix: str) -> None:
        names = [name for name in embeddings.header.arrays if name.startswith(prefix)]
        self._embeddings, self._full = embeddings, {name.removeprefix(prefix): name for name in names}
        self._opened: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._opened:
            self._opened[name] = self._embeddings.open(self._full[name]).array
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._full)

    def __len__(self) -> int:
        return len(self._full)

    def __contains__(self, name: object) -> bool:
        return name in self._full
