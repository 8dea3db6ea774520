"""A folder on any file system (local, S3, GCS, or another one through fsspec) whose files appear whole or not at all.

Reads, writes, lists and deletes files. Knows nothing of what they mean. A file is written to a temporary name (and
locally flushed to the disk), then renamed; an object store shows an object only when its upload is complete.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from orchestrator.artifacts.file_systems import open_file_system, unreachable
from orchestrator.artifacts.place import Place
from orchestrator.artifacts.storage import TEMPORARY_SUFFIX, remove_leftovers, sync_folder, write_atomically
from orchestrator.errors import ArtifactError, ConfigError

_OBJECT_STORES = ("s3", "gcs", "abfs")  # show an object when it is complete, need no folders, and rename slowly
_ROW_GROUP_ROWS, _ROW_GROUP_BYTES = 1 << 16, 16 << 20  # what is read at least, and lost to a damaged page
_READING: dict[str, Any] = {"page_checksum_verification": True, "pre_buffer": True}
_LOCAL = pafs.LocalFileSystem()
_COPIED_BYTES = 8 << 20
_REQUESTS = 16  # at once, where each costs a round trip
LEFTOVER_S = 3600.0  # a younger temporary file may be one that a living process is writing
_T = TypeVar("_T")
_R = TypeVar("_R")


class DamagedFileError(ArtifactError):
    """A file that was read, but does not hold what was once written."""


@dataclass(frozen=True)
class Folder(Place):
    """A folder whose files are read and written."""

    @cached_property
    def _opened(self) -> tuple[pafs.FileSystem, str]:
        try:
            return open_file_system(self.uri)
        except (ValueError, ImportError, OSError) as error:
            raise ConfigError(
                f"{self}: the file system cannot be opened ({str(error).replace(self.uri, str(self))})",
                expected="a local folder, s3://bucket/prefix, gs://bucket/prefix, or a URI that fsspec knows",
            ) from error

    def each(self, do: Callable[[_T], _R], things: Iterable[_T]) -> list[_R]:
        """`do` for each thing, in order; many at once where each costs a round trip over a network."""
        if self.local is not None:
            return [do(thing) for thing in things]
        with ThreadPoolExecutor(_REQUESTS) as pool:
            return list(pool.map(do, things))

    def _listed(self, what: pafs.FileType) -> list[pafs.FileInfo]:
        filesystem, path = self._opened
        if isinstance(filesystem, pafs.PyFileSystem):
            filesystem.handler.fs.invalidate_cache()  # fsspec remembers listings, but others write there too
        try:
            found = filesystem.get_file_info(pafs.FileSelector(path, recursive=False, allow_not_found=True))
        except OSError as error:
            raise unreachable(self, "listed", error) from error
        chosen = (info for info in found if info.type == what and not info.base_name.endswith(TEMPORARY_SUFFIX))
        return sorted(chosen, key=lambda info: info.base_name)

    def sizes(self) -> dict[str, int]:
        """Bytes of the files directly in the folder, by name, sorted; none when it does not exist."""
        if self.local is None:
            return {info.base_name: int(info.size) for info in self._listed(pafs.FileType.File)}
        found: dict[str, int] = {}
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found[name] = (self.local / name).stat().st_size
        return found

    def names(self) -> list[str]:
        """Names of the files directly in the folder, sorted; none when it does not exist."""
        if self.local is None:
            return [info.base_name for info in self._listed(pafs.FileType.File)]
        try:
            with os.scandir(self.local) as entries:
                return sorted(e.name for e in entries if not e.name.endswith(TEMPORARY_SUFFIX) and e.is_file())
        except FileNotFoundError:
            return []

    def forget_listing(self) -> None:
        """Let the next listing be of now: an NFS client remembers one for a minute, unless it changes the folder."""
        if self.local is not None:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.local)

    def steady_names(self) -> list[str]:
        """`names` as of one moment.

        While a listing is under way a file may appear behind it and the file it replaces vanish before it; then neither
        is told. The next listing tells of the new one, so that two that agree missed nothing.
        """
        before = self.names()
        while (names := self.names()) != before:
            before = names
        return names

    def folders(self) -> list[str]:
        """Names of the folders directly in this one, sorted."""
        if self.local is not None:
            return sorted(path.name for path in self.local.iterdir() if path.is_dir()) if self.local.is_dir() else []
        if self._opened[0].type_name == "gcs":  # of which Arrow lists only folders that an object stands for
            return sorted({name.partition("/")[0] for name in self._below() if "/" in name})
        return [info.base_name for info in self._listed(pafs.FileType.Directory)]

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        if self.local is not None:
            return (self.local / name).read_bytes()

        def read() -> bytes:
            filesystem, path = self._opened
            with filesystem.open_input_stream(f"{path}/{name}") as stream:
                return bytes(stream.read())

        return self._or_missing(name, read)

    def _or_missing(self, name: str, read: Callable[[], _T]) -> _T:
        """Of an object that is deleted while it is read, an object store says less than that it is not there."""
        try:
            return read()
        except FileNotFoundError:
            raise
        except OSError:
            filesystem, path = self._opened
            if filesystem.get_file_info(f"{path}/{name}").type == pafs.FileType.NotFound:
                raise FileNotFoundError(f"{self}/{name}") from None
            raise

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Write a file whole; an old one of this name is replaced. `durable` waits until the disk has it."""
        if self.local is not None:
            write_atomically(self.local / name, lambda temporary: _write_file(temporary, data), durable=durable)
            return

        def write(filesystem: pafs.FileSystem, target: str) -> None:
            with filesystem.open_output_stream(target) as stream:
                stream.write(data)

        self._replace(name, write)

    def upload(self, source: Path, name: str) -> None:
        """Write a local file whole to another file system, piece by piece; an old one of this name is replaced."""
        self._replace(name, lambda filesystem, target: _copy(_LOCAL, str(source), filesystem, target))

    def _replace(self, name: str, write: Callable[[pafs.FileSystem, str], None]) -> None:
        """Let `write` make the file, which is seen under its name only when it is whole."""
        filesystem, path = self._opened
        is_object_store = filesystem.type_name in _OBJECT_STORES
        target = f"{path}/{name}" if is_object_store else f"{path}/.{name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        try:
            if not is_object_store:
                filesystem.create_dir(path, recursive=True)
            write(filesystem, target)
            if not is_object_store:
                filesystem.move(target, f"{path}/{name}")
        except (OSError, pa.ArrowException) as error:
            raise unreachable(self, "written to", error) from error

    def download(self, name: str, target: Path) -> None:
        """Copy a file to a local path, piece by piece. Raises FileNotFoundError."""
        filesystem, path = self._opened

        def write(temporary: Path) -> None:
            _copy(filesystem, f"{path}/{name}", _LOCAL, str(temporary))

        self._or_missing(name, lambda: write_atomically(target, write, durable=False))

    def below(self, name: str) -> list[str]:
        """Relative paths of all files of this name, here and below, sorted; none when there is no folder."""
        return sorted(path for path in self._below() if path.rpartition("/")[2] == name)

    def _below(self) -> list[str]:
        filesystem, path = self._opened
        if isinstance(filesystem, pafs.PyFileSystem):
            filesystem.handler.fs.invalidate_cache()
        try:
            found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
        except OSError as error:
            raise unreachable(self, "listed", error) from error
        return [str(Path(info.path).relative_to(path)) for info in found if info.type == pafs.FileType.File]

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
            return
        filesystem, path = self._opened
        try:
            filesystem.delete_file(f"{path}/{name}")
        except FileNotFoundError:
            return
        except OSError as error:
            if filesystem.get_file_info(f"{path}/{name}").type != pafs.FileType.NotFound:
                raise unreachable(self, "cleared", error) from error

    def delete_all(self, names: Iterable[str]) -> None:
        """Delete files."""
        self.each(self.delete, names)

    def parquet(self, name: str, read: Callable[[pq.ParquetFile], _T]) -> _T:
        """What `read` makes of a Parquet file; page checksums are verified.

        Raises:
            FileNotFoundError: it is not there (any more).
            DamagedFileError: it does not hold what was written.
        """

        def opened() -> _T:
            if self.local is not None:
                with pq.ParquetFile(self.local / name, **_READING) as file:
                    return read(file)
            filesystem, path = self._opened
            with pq.ParquetFile(f"{path}/{name}", filesystem=filesystem, **_READING) as file:
                return read(file)

        try:
            return opened()
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError):
            return self.parquet_in_memory(name, read)

    def parquet_in_memory(self, name: str, read: Callable[[pq.ParquetFile], _T]) -> _T:
        """`parquet`, once the whole file is in memory: what fails then is not the network's fault."""
        try:
            data = self.read(name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreachable(self, "read", error) from error
        try:
            with pq.ParquetFile(pa.BufferReader(data), **_READING) as file:
                return read(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            above = str(self).rpartition("/")[0]
            raise DamagedFileError(
                f"{self}/{name} is damaged ({str(error).splitlines()[0]})",
                expected="a Parquet file as it was written",
                remedy=f"orchestrator verify {above} --repair; what is lost is then computed again",
            ) from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file whole, with page checksums."""
        sink = pa.BufferOutputStream()
        fitting = _ROW_GROUP_BYTES * table.num_rows // max(1, table.nbytes)
        rows = max(1, min(_ROW_GROUP_ROWS, fitting))
        pq.write_table(table, sink, row_group_size=rows, write_page_checksum=True)
        self.write(name, sink.getvalue())

    def sync(self) -> None:
        """Wait until the disk has the folder's names (after renames and deletions); nothing on an object store."""
        if self.local is not None:
            sync_folder(self.local)
            sync_folder(self.local.parent)

    def remove_leftovers(self, older_than_s: float = LEFTOVER_S) -> int:
        """Delete temporary files that killed processes left on a local disk; returns how many."""
        return remove_leftovers(self.local, older_than_s) if self.local is not None and self.local.is_dir() else 0


def _write_file(path: Path, data: bytes | pa.Buffer) -> None:
    with path.open("wb") as stream:
        stream.write(data)


def _copy(there: pafs.FileSystem, source: str, here: pafs.FileSystem, target: str) -> None:
    """Piece by piece in the caller's thread: pyarrow's own copy may wait for ever for the pool that it works in."""
    with there.open_input_stream(source) as reads, here.open_output_stream(target) as writes:
        shutil.copyfileobj(reads, writes, _COPIED_BYTES)
