"""What stays open between the trainings of one process: splits, teacher rows, hot copies and live teachers.

A thing is known by its folder, and served again only while the folder's manifest and tables are the very files that it
was opened from; a folder without a manifest is not finished, and is opened anew each time. The least recently used of
more than `MOST_OPEN` are let go. Reads the `shards` and `embeddings` artifacts. Knows nothing of models.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

import torch

from orchestrator.artifacts.embeddings import HEADER, TEXT_ROWS, Embeddings
from orchestrator.artifacts.hot_copy import HotCopy
from orchestrator.artifacts.manifest import MANIFEST_NAME
from orchestrator.training.data import SplitData, TeacherData, load_split, load_teacher
from orchestrator.training.live_teacher import LiveTeaching
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.teacher_views import LiveTeacher
from orchestrator.vocabulary import SPLIT_TRAIN

MOST_OPEN = 16
_Thing = TypeVar("_Thing")
_Stamp = tuple[tuple[int, ...] | None, ...]
_open: OrderedDict[tuple[Any, ...], tuple[_Stamp, Any]] = OrderedDict()
_lock = Lock()


def split(shards: Path, name: str, images: Literal["pixels", "encoded"] | None) -> SplitData:
    """See `load_split`."""
    stamp = _stamp(shards, f"{name}.parquet", f"{name}.npy", f"{name}.arrow")
    return _kept((split, shards.resolve(), name, images), stamp, lambda: load_split(shards, name, images))


def teacher(
    folder: Path, texts: Sequence[str], hot_copies: Path | None = None, num_classes: int | None = None
) -> TeacherData:
    """See `load_teacher`."""
    key = (teacher, folder.resolve(), tuple(texts), hot_copies, num_classes)
    return _kept(key, _stamp(folder, HEADER, TEXT_ROWS), lambda: load_teacher(folder, texts, hot_copies, num_classes))


def embeddings(folder: Path, hot_copies: Path | None = None) -> Embeddings:
    """The artifact, whose hot copies stay open."""
    key = (embeddings, folder.resolve(), hot_copies)
    return _kept(key, _stamp(folder, HEADER, TEXT_ROWS), lambda: _OpenEmbeddings(folder, hot_copies))


def live(teaching: LiveTeaching, shards: Path, training: TrainingSettings, image_size: int) -> LiveTeacher:
    """See `LiveTeaching.open`."""
    recipe = (training.views.model_dump_json(), training.data_seed, image_size)

    def opened() -> LiveTeacher:
        keys = load_split(shards, SPLIT_TRAIN).keys
        with torch.random.fork_rng():  # a training's own random numbers must not move when one is built
            return teaching.open(shards, training, image_size, keys)

    key = (live, teaching.model_dump_json(), shards.resolve(), recipe)
    return _kept(key, _stamp(shards, f"{SPLIT_TRAIN}.parquet", f"{SPLIT_TRAIN}.arrow"), opened)


class _OpenEmbeddings(Embeddings):
    def __init__(self, folder: Path, hot_copies: Path | None) -> None:
        super().__init__(folder, hot_copies)
        self._copies: dict[str, HotCopy] = {}

    def open(self, name: str) -> HotCopy:
        if name not in self._copies:
            self._copies[name] = super().open(name)
        return self._copies[name]


def _stamp(folder: Path, *names: str) -> _Stamp:
    """What tells these files from others of their names; None for one that is not there."""
    return tuple(_told(folder / name) for name in (MANIFEST_NAME, *names))


def _told(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _kept(key: tuple[Any, ...], stamp: _Stamp, make: Callable[[], _Thing]) -> _Thing:
    if stamp[0] is None:
        return make()
    with _lock:
        found = _open.get(key)
        if found is None or found[0] != stamp:
            found = _open[key] = (stamp, make())
        _open.move_to_end(key)
        while len(_open) > MOST_OPEN:
            _open.popitem(last=False)
    thing: _Thing = found[1]
    return thing
