"""A folder on any file system (local, S3, GCS, or another one through fsspec) whose files appear whole or not at all.

Reads, writes, lists and deletes files. Knows nothing of what they mean. On a local path a file is written to a
temporary name, flushed and renamed; an object store shows an object only when its upload is complete.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from orchestrator.artifacts.storage import TEMPORARY_SUFFIX, remove_leftovers, sync_folder, write_atomically
from orchestrator.errors import ConfigError

_NATIVE = ("s3", "gs", "gcs", "hdfs", "file", "abfs", "abfss")
_ROW_GROUP_ROWS = 1 << 16


@dataclass(frozen=True)
class Folder:
    """A folder named by a local path or a URI such as `s3://bucket/prefix?region=eu-central-1`.

    Credentials come from where the file system's own library looks (environment, files of the user), never from here.
    """

    uri: str

    @cached_property
    def local(self) -> Path | None:
        """The local path, or None on another file system."""
        scheme = urlsplit(self.uri).scheme
        if scheme == "file":
            return Path(urlsplit(self.uri).path)
        return None if len(scheme) > 1 else Path(self.uri)

    @cached_property
    def _opened(self) -> tuple[pafs.FileSystem, str]:
        scheme = urlsplit(self.uri).scheme
        try:
            if scheme in _NATIVE:
                filesystem, path = pafs.FileSystem.from_uri(self.uri)
                return filesystem, path
            import fsspec

            opened, path = fsspec.core.url_to_fs(self.uri)
            return pafs.PyFileSystem(pafs.FSSpecHandler(opened)), path
        except (ValueError, ImportError, OSError) as error:
            raise ConfigError(
                f"{self.uri}: the file system cannot be opened ({error})",
                expected="a local folder, s3://bucket/prefix, gs://bucket/prefix, or a URI that fsspec knows",
            ) from error

    @property
    def name(self) -> str:
        """The last part of the path."""
        return (self.local or Path(urlsplit(self.uri).path)).name

    def child(self, name: str) -> "Folder":
        """The folder `name` below this one; a URI keeps its query."""
        if self.local is not None:
            return Folder(str(self.local / name))
        parts = urlsplit(self.uri)
        return Folder(parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())

    def __str__(self) -> str:
        """The path or URI without its query (which may name endpoints)."""
        return str(self.local) if self.local is not None else urlsplit(self.uri)._replace(query="").geturl()

    def names(self) -> list[str]:
        """Names of the files directly in the folder, sorted; none when it does not exist."""
        if self.local is not None:
            try:
                with os.scandir(self.local) as entries:
                    return sorted(e.name for e in entries if not e.name.endswith(TEMPORARY_SUFFIX) and e.is_file())
            except FileNotFoundError:
                return []
        filesystem, path = self._opened
        found = filesystem.get_file_info(pafs.FileSelector(path, recursive=False, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == pafs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders directly in this one, sorted."""
        if self.local is not None:
            return sorted(path.name for path in self.local.iterdir() if path.is_dir()) if self.local.is_dir() else []
        filesystem, path = self._opened
        found = filesystem.get_file_info(pafs.FileSelector(path, recursive=False, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        if self.local is not None:
            return (self.local / name).stat().st_size
        filesystem, path = self._opened
        info = filesystem.get_file_info(f"{path}/{name}")
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(f"{self}/{name}")
        return int(info.size)

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        filesystem, path = self._opened
        with filesystem.open_input_stream(f"{path}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Write a file whole; an old one of this name is replaced. `durable` waits until the disk has it."""
        if self.local is not None:
            write_atomically(self.local / name, lambda temporary: _write_file(temporary, data), durable=durable)
            return
        filesystem, path = self._opened
        with filesystem.open_output_stream(f"{path}/{name}") as stream:
            stream.write(data)

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
        except OSError:
            if filesystem.get_file_info(f"{path}/{name}").type != pafs.FileType.NotFound:
                raise

    def parquet(self, name: str) -> pq.ParquetFile:
        """A Parquet file, opened; page checksums are verified on reading. Raises FileNotFoundError."""
        if self.local is not None:
            return pq.ParquetFile(self.local / name, page_checksum_verification=True)
        filesystem, path = self._opened
        try:
            return pq.ParquetFile(f"{path}/{name}", filesystem=filesystem, page_checksum_verification=True)
        except OSError as error:
            if filesystem.get_file_info(f"{path}/{name}").type == pafs.FileType.NotFound:
                raise FileNotFoundError(f"{self}/{name}") from error
            raise

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file whole, with page checksums."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=_ROW_GROUP_ROWS, write_page_checksum=True)
        self.write(name, sink.getvalue())

    def sync(self) -> None:
        """Wait until the disk has the folder's names (after renames and deletions); nothing on an object store."""
        if self.local is not None:
            sync_folder(self.local)

    def remove_leftovers(self) -> int:
        """Delete temporary files that killed processes left; returns how many."""
        return remove_leftovers(self.local) if self.local is not None and self.local.is_dir() else 0


def _write_file(path: Path, data: bytes | pa.Buffer) -> None:
    with path.open("wb") as stream:
        stream.write(data)
