"""The digest of a table's content, whatever its chunks, offsets, compression or the file it came from.

Reads nothing. Knows nothing of what the columns mean.
"""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def digest_table(table: pa.Table) -> str:
    """32 hexadecimal digits (BLAKE2b, 128 bits) of names, types, nulls and values; columns in name order."""
    state = hashlib.blake2b(digest_size=16)
    state.update(str(table.num_rows).encode())
    for name in sorted(table.column_names):
        column = table[name]
        state.update(f"\0{name}\0{_type_name(column.type)}\0".encode())
        array = column.combine_chunks()
        _update(state, pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array)
    return state.hexdigest()


def _type_name(kind: pa.DataType) -> str:
    """The type's name without the names of list items, which Parquet changes."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    return str(kind)


def _update(state: Any, array: pa.Array) -> None:
    state.update(np.packbits(np.asarray(array.is_null())).tobytes())
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        filled = array.cast(pa.large_binary()).fill_null(b"")
        offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
        state.update(np.diff(offsets).tobytes())
        data = filled.buffers()[2]
        if data is not None and len(offsets):
            state.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        state.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64).tobytes())
        _update(state, array.flatten())
    elif pa.types.is_boolean(kind):
        state.update(np.asarray(array.fill_null(False)).astype(np.uint8).tobytes())
    else:
        state.update(np.asarray(array.fill_null(0)).tobytes())
