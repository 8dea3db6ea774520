"""Images that are read where they lie, decoded and framed whenever they are asked for, instead of kept as pixels.

Reads a split's table of addresses, which the stage `shard` writes and which is memory-mapped, and the images' bytes.
Knows nothing of views or batches.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.datasets.framing import square
from orchestrator.datasets.index import content_hash, decode_rgb, read_image_bytes
from orchestrator.errors import DataError

ADDRESS_COLUMNS = ("image_id", "path", "offset", "size", "content_hash")
SIDE, FRAMING = b"side", b"framing"  # in the table's metadata: what an image becomes
Pixels = npt.NDArray[np.uint8]


class EncodedPixels:
    """Read by rows as the memory-mapped pixels are, and gives the same bits: [n, S, S, 3] uint8.

    Args:
        addresses: an Arrow file with `ADDRESS_COLUMNS`.
        num_threads: that decode; 1 where loader processes do.
    """

    def __init__(self, addresses: Path, num_threads: int = 1) -> None:
        self._path, self._num_threads = addresses, num_threads

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path, self._num_threads)  # another process maps the table itself

    @cached_property
    def _table(self) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self._path))).read_all()

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, S, S, 3]."""
        side = int(self._table.schema.metadata[SIDE])
        return self._table.num_rows, side, side, 3

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> Pixels:
        """The frames of these images.

        Raises:
            DataError: naming an image that cannot be read or decoded, or whose bytes are not those that were indexed.
        """
        wanted = np.arange(len(self))[rows].tolist()
        made = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        if self._num_threads > 1 and len(wanted) > 1:
            with ThreadPoolExecutor(self._num_threads) as threads:
                for place, frame in enumerate(threads.map(self._frame, wanted)):
                    made[place] = frame
        else:
            for place, row in enumerate(wanted):
                made[place] = self._frame(row)
        return made

    def address(self, row: int) -> tuple[str, int, int]:
        """(path, offset, size) of an image."""
        path, offset, size = (self._table[name][row].as_py() for name in ("path", "offset", "size"))
        return path, offset, size

    def _frame(self, row: int) -> Pixels:
        image_id, path, offset, size, expected = (self._table[name][row].as_py() for name in ADDRESS_COLUMNS)
        metadata = self._table.schema.metadata
        try:
            data = read_image_bytes(path, offset, size)
            if content_hash(data) != expected:
                raise DataError(f"the bytes at {path} (offset {offset}) are not those that were indexed")
            return square(decode_rgb(data), self.shape[1], metadata[FRAMING].decode())
        except (DataError, OSError) as error:
            wrong = error.wrong if isinstance(error, DataError) else str(error)
            raise DataError(
                f"image {image_id} cannot be used: {wrong}",
                expected="the image as it was when the index was made",
                remedy="restore the file, or make the index again: --rehash",
            ) from error


class Addresses(Sequence[tuple[str, int, int]]):
    """(path, offset, size) of each image of a split."""

    def __init__(self, frames: EncodedPixels) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, row: Any) -> Any:
        return self._frames.address(int(row))
