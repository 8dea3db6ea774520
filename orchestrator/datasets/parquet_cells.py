"""Images that are cells of a Parquet file, read in place.

The address of such an image is ("parquet:COLUMN:FILE", row in the file, -1): compressed pages have no place in the file
where a cell's bytes would lie, so its row group is read, and the last few row groups are kept in memory. Reads Parquet
files; writes nothing. Knows nothing of images.
"""

import threading
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import DataError

PREFIX, WHOLE_CELL = "parquet:", -1
_NUM_GROUPS, _NUM_FILES = 8, 256  # kept by each process: a row group of images has most often 1 to 100 MiB
_lock = threading.Lock()  # a Parquet reader is not for two threads at once


def cell_path(file: Path, column: str) -> str:
    """The path of the addresses of a column's cells; `column` may be `struct.field`."""
    return f"{PREFIX}{column}:{file}"


def read_cell(path: str, row: int) -> bytes:
    """The bytes of one cell.

    Raises:
        DataError: the file has no such row, or nothing stands there.
        OSError: the file cannot be read.
    """
    column, file = path.removeprefix(PREFIX).split(":", 1)
    try:
        with _lock:
            starts = _starts(file)
            group = int(np.searchsorted(starts, row, "right")) - 1
            if not 0 <= row < starts[-1]:
                raise DataError(f"{file} has {starts[-1]:,} rows, and row {row:,} is wanted",
                                remedy="restore the file, or make the index again")  # fmt: skip
            cells = _group(file, column, group)
            value = cells[row - starts[group]].as_py()
    except pa.ArrowException as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if value is None:
        raise DataError(f"{file}: row {row:,} of {column} is empty", expected="the bytes of an image")
    return bytes(value)


def column_of(table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column by its dotted name."""
    top, *fields = column.split(".")
    found = table[top]
    for field in fields:
        found = pc.struct_field(found, field)
    return found


@lru_cache(maxsize=_NUM_FILES)
def _open(file: str) -> Any:
    return pq.ParquetFile(file, memory_map=True)


@lru_cache(maxsize=_NUM_FILES)
def _starts(file: str) -> list[int]:
    """First row of each row group, and the number of rows."""
    metadata = _open(file).metadata
    return [0, *accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))]


@lru_cache(maxsize=_NUM_GROUPS)
def _group(file: str, column: str, group: int) -> Any:
    return column_of(_open(file).read_row_group(group, columns=[column]), column)
