"""Images on their way to a teacher: their addresses in a plan, their bytes ahead of the model, decoding in the actor.

Reads images. Knows nothing of what a teacher makes of them.
"""

from collections.abc import Callable, Sequence

import pyarrow as pa
from PIL import Image

from orchestrator.artifacts.teacher_store import KEY
from orchestrator.datasets.index import content_hash, decode_rgb, read_image_bytes
from orchestrator.errors import DataError
from orchestrator.executors.pay_once import Row

ADDRESS = {"path": pa.string(), "offset": pa.int64(), "size": pa.int64(), "content_hash": pa.string()}


def fetch_images(rows: pa.Table) -> pa.Table:
    """Add the images' compressed bytes as `data`; null where they cannot be read."""

    def read(path: str, offset: int, size: int) -> bytes | None:
        try:
            return read_image_bytes(path, offset, size)
        except (OSError, ValueError):
            return None  # read once more where the error can be told

    addresses = zip(*(rows[name].to_pylist() for name in ("path", "offset", "size")), strict=True)
    return rows.append_column("data", pa.array([read(*address) for address in addresses], pa.large_binary()))


class ChangedImageError(OSError):
    """The bytes at an image's address are no longer those that were indexed (they may be again)."""


def image_of(row: Row) -> Image.Image:
    """The decoded image of a fetched row.

    Raises:
        OSError: it cannot be read, or is no longer the one that was indexed.
        DataError: it cannot be decoded.
    """
    data = row["data"]
    if data is None:
        try:
            data = read_image_bytes(row["path"], row["offset"], row["size"])
        except DataError as error:
            raise ChangedImageError(error.wrong) from error
    if content_hash(data) != row["content_hash"]:
        raise ChangedImageError("the image has changed since the index was made; make the index again")
    return decode_rgb(data)


def by_image(columns: Sequence[str]) -> Callable[[pa.Table], pa.Table]:
    """Rows -> items: consecutive rows of one image become one item; `columns` and the keys become lists."""

    def to_items(rows: pa.Table) -> pa.Table:
        hashes = rows["content_hash"].to_pylist()
        starts = [n for n in range(len(hashes)) if n == 0 or hashes[n] != hashes[n - 1]]
        offsets = pa.array([*starts, len(hashes)], pa.int32())
        first = rows.take(pa.array(starts, pa.int64()))
        lists = {name: pa.ListArray.from_arrays(offsets, _flat(rows[name])) for name in columns}
        keys = pa.ListArray.from_arrays(offsets, _flat(rows[KEY]))
        return pa.table({**{name: first[name] for name in ADDRESS}, "keys": keys, **lists})

    return to_items


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
