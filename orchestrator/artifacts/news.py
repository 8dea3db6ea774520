"""What has come into a teacher store since some work was planned, so that nothing is paid that is there by now.

Reads new files of the store. Knows nothing of models.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.teacher_store import KEY, TRANSIENT, TeacherStore

Keys = npt.NDArray[np.bytes_]


class StoreNews:
    """Follows a store's files during one run.

    Parts of the same run are only opened for a micro-batch that is tried again: a run has each row once.

    Args:
        known: names of the files the plan has taken into account.
    """

    def __init__(self, store: TeacherStore, run: str, known: Sequence[str]) -> None:
        self._store, self._own = store, run[:8]
        self._known = set(known)
        self._foreign: set[str] = set()
        self._segments: list[Keys] = []

    def settled(self, keys: Sequence[str], micro_batch: str) -> set[str]:
        """Those of `keys` that need not be computed any more."""
        own: set[str] = set()
        for name in self._store.part_files.names():  # before the segments: compaction writes these first
            if name in self._known:
                continue
            run, of_micro_batch, _ = name.split("-", 2)
            if run == self._own:
                if of_micro_batch == micro_batch:
                    own.update(_settled(self._store.part_files, name))
                continue
            self._foreign.update(_settled(self._store.part_files, name))
            self._known.add(name)
        for name in self._store.segment_files.names():
            if name not in self._known:
                self._segments.append(np.sort(np.array(_settled(self._store.segment_files, name), np.bytes_)))
                self._known.add(name)
        wanted = np.array(list(keys), np.bytes_)
        found = {key for key in keys if key in own or key in self._foreign}
        for segment in self._segments:
            if len(segment):
                place = np.minimum(np.searchsorted(segment, wanted), len(segment) - 1)
                found.update(key for key, hit in zip(keys, segment[place] == wanted, strict=True) if hit)
        return found


def _settled(folder: Folder, name: str) -> list[str]:
    """Keys of a file's rows that are not to be tried again; none when compaction has moved the file meanwhile."""
    try:
        rows: pa.Table = folder.parquet(name).read(columns=[KEY, TRANSIENT])
    except FileNotFoundError:
        return []
    return list(pc.filter(rows[KEY], pc.invert(rows[TRANSIENT])).to_pylist())
