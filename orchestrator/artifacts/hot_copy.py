"""The hot copy: one column of a teacher store as a memory-mapped array, made from the Parquet truth when it is wanted.

The store's part files are the truth and are read by key; training reads rows at random, millions of times, which
Parquet is not made for. A hot copy is `rows.bin`, mapped by every worker of a node and held once in its page cache,
`keys.parquet` and `header.json`. It may be deleted at any time: whoever opens it next builds it again.
Reads a store; writes its folder.
"""

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.artifacts.fingerprint import digest_bytes, digest_file
from orchestrator.artifacts.storage import TEMPORARY_SUFFIX, read_json, read_table, write_json, write_table
from orchestrator.artifacts.store_arrays import Array, from_column, stream_rows
from orchestrator.artifacts.teacher_store import KEY, TeacherStore
from orchestrator.errors import ArtifactError

ROWS, KEYS, HEADER = "rows.bin", "keys.parquet", "header.json"
SCHEMA_VERSION = 1
STALE_AFTER_S = 24 * 3600  # a build's leftovers are surely a killed process's after a day


class HotCopy:
    """A column of a store by row number; open it with `open`, or with `build`, which makes it where it is missing.

    Attributes:
        folder: where it lies.
        array: [n, ...] the rows, memory-mapped, read-only, as a plain ndarray.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder, self._header = folder, header
        shape, dtype = tuple(header["shape"]), np.dtype(header["dtype"])
        size = int(np.prod(shape)) * dtype.itemsize
        if (found := (folder / ROWS).stat().st_size) != size:
            raise ArtifactError(
                f"{folder / ROWS} has {found:,} bytes, its header says {dtype.name} {shape}",
                expected=f"{size:,} bytes",
                remedy="delete the folder; it is built again from the store",
            )
        # Raw, so that rows begin at page borders; behind the 128 bytes of an .npy header a quarter of the rows of 1 KiB
        # lie on two pages. A plain view, because slicing an `np.memmap` makes another memmap each time.
        mapped = np.memmap(folder / ROWS, dtype, "r", shape=shape) if size else np.zeros(shape, dtype)
        self.array: Array = np.asarray(mapped)
        self.array.flags.writeable = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The finished hot copy in `folder`.

        Raises:
            ArtifactError: there is none, or its array does not have the size that its header tells.
        """
        if not (folder / HEADER).is_file():
            raise ArtifactError(f"{folder} holds no hot copy", expected=f"its {HEADER}", remedy="build it")
        return cls(folder, read_json(folder / HEADER))

    @classmethod
    def build(cls, store: TeacherStore, keys: Sequence[str], column: str, folder: Path, dtype: str) -> Self:
        """The hot copy of these rows in `folder`: the one that is there when it holds them, else a new one.

        Memory is bounded by one row group of the store (and the keys). Workers that ask at once wait for the first one;
        where the file system has no locks, each builds its own and the first to finish wins. A reader of an older copy
        keeps what it has mapped.

        Args:
            keys: of the rows, in the order of the array; repeats are allowed.
            column: name in the store's table.
            dtype: float16 or float32 (numbers), or any numpy name that the column's values can be cast to.

        Raises:
            ArtifactError: the store lacks a row.
            OSError: the disk is full; nothing is left behind.
        """
        wanted = {"schema": SCHEMA_VERSION, "column": column, "dtype": np.dtype(dtype).name, "keys": _digest(keys)}
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if _holds(folder, wanted):
                return cls.open(folder)
            _remove_stale(folder)
            temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
            temporary.mkdir()
            try:
                shape = _fill(store, keys, column, temporary / ROWS, np.dtype(dtype))
                write_table(temporary / KEYS, pa.table({KEY: pa.array(keys, pa.string())}))
                header = {**wanted, "shape": list(shape), "digest": digest_file(temporary / ROWS)}
                write_json(temporary / HEADER, header)
                _replace(temporary, folder, wanted)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(folder)

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, indices: npt.NDArray[np.int64]) -> Array:
        """The rows [n, ...] of these row numbers, in their order, copied into memory."""
        return self.array.take(indices, axis=0)  # a tenth faster than indexing, on rows of 1 KiB

    def keys(self) -> list[str]:
        """The key of each row."""
        return list(read_table(self.folder / KEYS)[KEY].to_pylist())

    def verify(self, store: TeacherStore, sample: int | None = None) -> list[str]:
        """Problems in words: bytes that changed since the build, rows that differ from the store, rows it lacks.

        Args:
            sample: compare so many rows, drawn evenly, instead of all; and do not read the whole array for its digest.
        """
        problems = []
        keys = self.keys()
        if len(keys) != len(self.array) or _digest(keys) != self._header["keys"]:
            return [f"{self.folder}: {KEYS} does not fit its header"]
        if sample is None and digest_file(self.folder / ROWS) != self._header["digest"]:
            problems.append(f"{self.folder}: {ROWS} changed since it was built")
        chosen = np.arange(len(keys))
        if sample is not None and sample < len(keys):
            chosen = np.unique(np.linspace(0, len(keys) - 1, sample).astype(np.int64))
        wrong = 0
        try:
            for places, values in _truth(store, [keys[row] for row in chosen], self._header["column"], sample):
                ours = self.array[chosen[places]]
                same = ours.view(np.uint8) == np.ascontiguousarray(values.astype(ours.dtype)).view(np.uint8)
                wrong += int((~same.reshape(len(places), -1).all(1)).sum())
        except ArtifactError as error:
            problems.append(f"{self.folder}: {error}")
        if wrong:
            problems.append(f"{self.folder}: {wrong} of {len(chosen)} rows differ from {store.folder}")
        return problems


def _truth(
    store: TeacherStore, keys: Sequence[str], column: str, sample: int | None
) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    if sample is None:
        yield from stream_rows(store, keys, column)
    elif keys:
        yield np.arange(len(keys)), from_column(store.read(keys, [column])[column])


def _fill(store: TeacherStore, keys: Sequence[str], column: str, path: Path, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Write the rows to `path` as they come; returns the array's shape."""
    mapped: Array | None = None
    for places, values in stream_rows(store, keys, column):
        if mapped is None:
            mapped = _reserve(path, (len(keys), *values.shape[1:]), dtype)
        mapped[places] = values
    if mapped is None:
        mapped = _reserve(path, (0,), dtype)
    if isinstance(mapped, np.memmap):
        mapped.flush()
    shape = mapped.shape
    del mapped
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        # Rows came in the store's order, so the cached pages lie scattered in memory, and reading them at random took
        # twice as long as from a file written front to back (1.7 against 4.2 million rows/s). Dropped here, they are
        # cached anew, in order, by the pass that takes the digest.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return shape


def _reserve(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array file to be filled by mapping; its blocks are taken now, because a full disk kills a mapping process."""
    size = int(np.prod(shape)) * dtype.itemsize
    with path.open("wb") as stream:
        if not size:
            return np.zeros(shape, dtype)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)
    return np.memmap(path, dtype, "r+", shape=shape)


def _holds(folder: Path, wanted: dict[str, Any]) -> bool:
    path = folder / HEADER
    if not path.is_file():
        return False
    header = read_json(path)
    return {name: header.get(name) for name in wanted} == wanted and (folder / ROWS).is_file()


def _replace(temporary: Path, folder: Path, wanted: dict[str, Any]) -> None:
    """Put the finished copy in its place; a copy of other rows is moved aside, one of the same rows is kept."""
    for _ in range(8):
        try:
            temporary.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _holds(folder, wanted):
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            folder.rename(aside)
        except FileNotFoundError:
            continue  # another process moved it first
        shutil.rmtree(aside, ignore_errors=True)
    raise ArtifactError(f"{folder} is replaced by others as fast as it is built", remedy="stop the other experiment")


def _remove_stale(folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.*{TEMPORARY_SUFFIX}"):
        if time.time() - left.stat().st_mtime > STALE_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the build lock of `folder`; the system gives it back when its process dies."""
    with folder.with_name(f".{folder.name}.lock").open("w") as stream:
        with suppress(OSError):  # on a file system without locks the rename alone decides
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _digest(keys: Sequence[str]) -> str:
    return digest_bytes("\n".join(keys).encode())
