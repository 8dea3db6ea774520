"""The plan of some teacher work: micro-batches of items, composed once by row order, as one Arrow IPC file.

Writes and reads that file, a record batch for each micro-batch, so that nobody holds the whole plan. Knows nothing of
engines.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa


class MicroBatchWriter:
    """Packs items densely, in the order they come.

    What is missing after a crash is whole micro-batches, so the same command packs the rest into the very same ones.
    """

    def __init__(self, path: Path, schema: pa.Schema, batch_size: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pa.ipc.new_file(path, schema)
        self._schema, self._batch_size = schema, batch_size
        self._rest = schema.empty_table()
        self.num_items = 0

    def add(self, items: pa.Table) -> None:
        """Append items (with the schema's columns)."""
        self.num_items += items.num_rows
        rows = pa.concat_tables([self._rest, items.select(self._schema.names).cast(self._schema)]).combine_chunks()
        full = rows.num_rows - rows.num_rows % self._batch_size
        if full:
            self._writer.write_table(rows.slice(0, full), max_chunksize=self._batch_size)
        self._rest = rows.slice(full).combine_chunks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rest.num_rows:
            self._writer.write_table(self._rest.combine_chunks())
        self._writer.close()


class MicroBatches:
    """A plan that is read; any number of processes may do so."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    def __getitem__(self, number: int) -> pa.Table:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return pa.Table.from_batches([self._reader.get_batch(number)])

    def __iter__(self) -> Iterator[pa.Table]:
        return (self[number] for number in range(len(self)))
