"""What has come into a teacher store since some work was planned, so that nothing is paid that is there by now.

Reads new files of the store. Knows nothing of models.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.key_set import KeySet
from orchestrator.artifacts.store_files import parquet_names, short_run
from orchestrator.artifacts.teacher_store import KEY, TRANSIENT, TeacherStore


class StoreNews:
    """Follows a store's files during one run.

    Parts of the same run are only opened for a micro-batch that is tried again: a run has each row once.

    Args:
        known: names of the files the plan has taken into account.
    """

    def __init__(self, store: TeacherStore, run: str, known: Sequence[str]) -> None:
        self._store, self._own = store, short_run(run)
        self._known = frozenset(known)
        self._parts: dict[str, frozenset[str]] = {}  # of other runs: small
        self._segments: dict[str, KeySet] = {}

    def settled(self, keys: Sequence[str], micro_batch: str) -> set[str]:
        """Those of `keys` that need not be computed any more, as of now."""
        self._store.part_files.forget_listing()
        self._store.segment_files.forget_listing()
        return self._store.steadily(lambda: self._settled(keys, micro_batch))

    def _settled(self, keys: Sequence[str], micro_batch: str) -> set[str]:
        parts = [name for name in self._store.part_files.names() if name not in self._known]  # before the segments
        segments = [name for name in self._store.segment_files.steady_names() if name not in self._known]
        found: set[str] = set()
        foreign: dict[str, frozenset[str]] = {}
        for name in parquet_names(parts):
            run, of_micro_batch = [*name.split("-"), ""][:2]
            if run == self._own and of_micro_batch != micro_batch:
                continue
            there = self._parts.get(name)
            if there is None:
                there = frozenset(self._store.part_files.parquet(name, _settled_keys).to_pylist())
            if run != self._own:
                foreign[name] = there
            found.update(key for key in keys if key in there)
        wanted = pa.array(keys, pa.string())
        hit: npt.NDArray[np.bool_] = np.zeros(len(keys), bool)
        current: dict[str, KeySet] = {}
        for name in parquet_names(segments):
            known = self._segments.get(name)
            current[name] = known if known is not None else self._read_segment(name)
            hit |= current[name].has(wanted)
        self._parts, self._segments = foreign, current  # what compaction has rewritten is in a segment by now
        return found | {key for key, there in zip(keys, hit, strict=True) if there}

    def _read_segment(self, name: str) -> KeySet:
        return KeySet(self._store.segment_files.parquet(name, _settled_keys))


def _settled_keys(file: pq.ParquetFile) -> pa.ChunkedArray:
    """Keys of a file's rows that are not to be tried again."""
    rows = file.read(columns=[KEY, TRANSIENT])
    return pc.filter(rows[KEY], pc.invert(rows[TRANSIENT]))
