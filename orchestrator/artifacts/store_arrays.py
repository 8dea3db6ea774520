"""Arrays in a teacher store: how rows of an array become a column, and streaming a column back.

Reads a store by row groups, so that memory is bounded by one of them, not by the store. Knows nothing of models.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.teacher_store import COMMITTED_US, ERROR_CLASS, KEY, TeacherStore
from orchestrator.errors import ArtifactError

Array = npt.NDArray[Any]
_LISTINGS = 20  # a listing that a concurrent compaction overtook is taken again


def to_column(rows: Sequence[Array | None]) -> pa.Array:
    """Rows of one shape and type as a column: numbers, or (nested) lists; None becomes null.

    At least one row must be there, because it tells the shape. Not lists of a fixed size: pyarrow 25 writes such a
    column with nulls but cannot read it back ("Expected all lists to be of size=4 but index 2 had size=0").
    """
    missing = np.array([row is None for row in rows])
    stacked = np.stack([row for row in rows if row is not None])
    if stacked.ndim == 1:
        full = np.zeros(len(rows), stacked.dtype)
        full[~missing] = stacked
        return pa.array(full, mask=missing)
    column = pa.array(stacked.ravel())
    for size in stacked.shape[:1:-1]:
        column = pa.ListArray.from_arrays(pa.array(np.arange(0, len(column) + 1, size), pa.int32()), column)
    offsets = np.concatenate([[0], np.cumsum(np.where(missing, 0, stacked.shape[1]))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column, mask=pa.array(missing))


def from_column(column: pa.ChunkedArray) -> Array:
    """The inverse of `to_column` for a column without nulls.

    Raises:
        ArtifactError: the column holds a null, or something that has no fixed shape.
    """
    if column.null_count:
        raise ArtifactError(f"a column of {column.type} holds {column.null_count} empty rows", expected="no empty row")
    shape, kind = [len(column)], column.type
    values = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = np.unique(np.asarray(pc.list_value_length(values)))
        if len(lengths) > 1:
            raise ArtifactError(f"a column of {column.type} holds lists of {len(lengths)} lengths", expected="one")
        shape.append(int(lengths[0]) if len(lengths) else 0)
        values, kind = values.flatten(), kind.value_type
    if not pa.types.is_primitive(kind):
        raise ArtifactError(f"a column of {column.type} is no array", expected="numbers, or lists of one length")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)


def stream_rows(store: TeacherStore, keys: Sequence[str], column: str) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    """The rows of `keys` in the order in which the store holds them: (their positions in `keys`, their values).

    Each position is given once; a key that stands several times among `keys` has several. Of rows that the store holds
    twice the one committed first counts, as in `TeacherStore.read`.

    Raises:
        ArtifactError: after the last file, when a key has no row with a value.
    """
    position: dict[str, int] = {}
    repeats: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if position.setdefault(key, index) != index:
            repeats.setdefault(key, []).append(index)
    met = np.zeros(len(keys), bool)
    for _ in range(_LISTINGS):
        try:
            counts = store.paid_twice()
            for held in _row_groups(store, column):
                wanted = []
                when = held[COMMITTED_US].to_pylist() if counts else []
                for row, key in enumerate(held[KEY].to_pylist()):
                    if key in counts and when[row] != counts[key]:
                        continue
                    if (at := position.get(key)) is not None and not met[at]:
                        met[at] = True
                        wanted.append((row, at, key))
                if not wanted:
                    continue
                rows = [row for row, _, key in wanted for _ in range(1 + len(repeats.get(key, ())))]
                places = np.array([p for _, at, key in wanted for p in (at, *repeats.get(key, ()))], np.int64)
                met[places] = True
                yield places, from_column(held[column])[rows]
            break
        except FileNotFoundError:
            continue  # a compaction deleted a file that was listed; what it held is in another one
    if not met.all():
        raise ArtifactError(
            f"{store.folder} lacks {int((~met).sum())} of {len(keys)} rows, first {keys[int(met.argmin())]}",
            expected="every row committed before it is read",
            remedy="run the same command again; only what is missing is computed",
        )


def _row_groups(store: TeacherStore, column: str) -> Iterator[pa.Table]:
    """Keys and one column of all rows that have their value, a row group of a file at a time."""
    names = [KEY, ERROR_CLASS, COMMITTED_US, column]
    for folder, name in store.files():
        # A part in which everything was refused lacks the column.
        groups = folder.parquet(name, lambda file: file.num_row_groups if column in file.schema_arrow.names else 0)
        for group in range(groups):
            rows = folder.parquet(name, lambda file, group=group: file.read_row_group(group, columns=names))  # type: ignore[misc]
            yield rows.filter(pc.is_null(rows[ERROR_CLASS]))


def read_rows(store: TeacherStore, keys: Sequence[str], column: str) -> Array:
    """The rows of `keys` in that order, in memory."""
    result: Array | None = None
    for places, values in stream_rows(store, keys, column):
        if result is None:
            result = np.empty((len(keys), *values.shape[1:]), values.dtype)
        result[places] = values
    return np.empty(0) if result is None else result
