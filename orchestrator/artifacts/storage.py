"""Writing so that a crash at any moment leaves either the old file or the new one.

Reads and writes local (or mounted, e.g. NFS) paths. Knows nothing of what the files mean.
"""

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Call `write` on a temporary name beside `path`, flush it to disk (if `durable`), then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        write(temporary)
        if durable:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value in `path`."""
    return json.loads(path.read_text())


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` as Parquet to `path` atomically."""
    write_atomically(path, lambda temporary: pq.write_table(table, temporary))


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The Parquet table in `path`; `partitioning=None` keeps folder names such as `a=b` from becoming columns."""
    return pq.read_table(path, columns=columns, partitioning=None)


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> int:
    """Delete temporary files that a killed process left in `folder`; returns how many.

    Where others may be writing, only those that nobody has touched for `older_than_s` are sure to be left.
    """
    count = 0
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
                count += 1
        except FileNotFoundError:  # its writer has just finished
            continue
    return count
