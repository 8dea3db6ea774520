"""The digest of a table's content, whatever its chunks, offsets, compression or the file it came from.

Reads nothing. Knows nothing of what the columns mean.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import ArtifactError


def digest_table(table: pa.Table) -> str:
    """32 hexadecimal digits (BLAKE2b, 128 bits) of names, types, nulls and values; columns in name order."""
    digest = TableDigest()
    digest.update(table)
    return digest.hexdigest()


class TableDigest:
    """The digest of a table that comes in pieces; where it is cut changes nothing."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._columns: dict[str, _ColumnDigest] = {}

    def update(self, table: pa.Table) -> None:
        """Add the next rows.

        Raises:
            ArtifactError: the columns or their types are not those of the rows before.
        """
        if not self._columns:
            self._columns = {name: _ColumnDigest() for name in sorted(table.column_names)}
        if sorted(table.column_names) != list(self._columns):
            raise ArtifactError(
                f"rows with the columns {', '.join(table.column_names)}", expected=", ".join(self._columns)
            )
        self._num_rows += table.num_rows
        for name, column in self._columns.items():
            for chunk in table[name].chunks or [pa.array([], table[name].type)]:
                column.update(chunk)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        state = hashlib.blake2b(str(self._num_rows).encode(), digest_size=16)
        for name, column in self._columns.items():
            state.update(f"\0{name}\0{column.type_name}\0".encode() + column.digest())
        return state.hexdigest()


class _ColumnDigest:
    """Nulls, lengths and values in a state each, so that the pieces' borders leave no trace."""

    def __init__(self) -> None:
        self.type_name = ""
        self._nulls, self._lengths, self._values = (hashlib.blake2b(digest_size=16) for _ in range(3))
        self._items: _ColumnDigest | None = None

    def digest(self) -> bytes:
        states = self._nulls.digest() + self._lengths.digest() + self._values.digest()
        return states + (self._items.digest() if self._items else b"")

    def update(self, array: pa.Array) -> None:
        kind = array.type
        if pa.types.is_dictionary(kind):
            array, kind = array.dictionary_decode(), kind.value_type
        name = _type_name(kind)
        if self.type_name not in ("", name):
            raise ArtifactError(f"a column of {name}", expected=f"{self.type_name}, as in the rows before")
        self.type_name = name
        self._nulls.update(np.asarray(array.is_null()).astype(np.uint8).tobytes())
        if pa.types.is_null(kind) or not len(array):
            return
        if _is_text(kind):
            self._update_text(array)
        elif _is_list(kind):
            lengths = pc.fill_null(pc.list_value_length(array), 0)
            self._lengths.update(np.asarray(lengths).astype(np.int64).tobytes())
            self._items = self._items or _ColumnDigest()
            self._items.update(array.flatten())  # leaves out what lies under a null
        elif pa.types.is_boolean(kind):
            self._values.update(np.asarray(array.fill_null(False)).astype(np.uint8).tobytes())
        else:
            self._values.update(np.asarray(array.fill_null(0)).tobytes())

    def _update_text(self, array: pa.Array) -> None:
        filled = array.cast(pa.large_binary()).fill_null(b"")
        _, offset_bytes, data = filled.buffers()
        offsets = np.frombuffer(offset_bytes, np.int64)[filled.offset : filled.offset + len(filled) + 1]
        self._lengths.update(np.diff(offsets).tobytes())
        if data is not None:
            self._values.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def _is_text(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _type_name(kind: pa.DataType) -> str:
    """The type's name without the names of list items, which Parquet changes."""
    return f"list<{_type_name(kind.value_type)}>" if _is_list(kind) else str(kind)
