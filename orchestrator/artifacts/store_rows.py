"""What a row of a teacher store is: its columns, its key, and which of several rows of one key counts.

Reads nothing. Knows nothing of files.
"""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.fingerprint import fingerprint

KEY = "key"
SCHEMA_VERSION = 2
ERROR_CLASS, ERROR_MESSAGE, TRANSIENT, PATH = "error_class", "error_message", "transient", "path"
COMMITTED_US = "committed_us"
BOOKKEEPING = {
    COMMITTED_US: pa.int64(),
    ERROR_CLASS: pa.string(),  # null where the row has its value
    ERROR_MESSAGE: pa.string(),
    TRANSIENT: pa.bool_(),  # another attempt may succeed, so the row counts as missing
    PATH: pa.string(),  # of the image, for the reader of a refusal
}
SEGMENT_BYTES = 256 << 20  # of Parquet that one step (digest, compaction) holds in memory

KeyRange = tuple[str, str]  # keys from the first on, up to the second; an empty string is no bound


def row_key(**parts: object) -> str:
    """Key of one row: digest of its named parts and of the store's schema version."""
    return fingerprint({"schema": SCHEMA_VERSION, **parts})


def row_keys(context: str, *columns: Sequence[str]) -> list[str]:
    """Keys of many rows that share `context` (a `row_key`) and differ in string columns; about 1 us a row."""
    seed = hashlib.blake2b(context.encode(), digest_size=16)
    known: dict[str, bytes] = {}  # a prompt is the same in many rows

    def framed(value: str) -> bytes:
        data = known.get(value)
        if data is None:
            text = value.encode()
            data = known[value] = len(text).to_bytes(8, "little") + text
        return data

    keys = []
    for values in zip(*columns, strict=True):
        state = seed.copy()
        state.update(b"".join(map(framed, values)))
        keys.append(state.hexdigest())
    return keys


def digest_keys(keys: Sequence[str]) -> str:
    """Digest of a set of keys."""
    return fingerprint(sorted(keys))[:16]


def key_ranges(num_bytes: int, piece_bytes: int = SEGMENT_BYTES) -> list[KeyRange]:
    """Ranges that cut all keys, whatever they are, so that rows of `num_bytes` fall into pieces of about `piece_bytes`.

    Keys are digests in hexadecimal digits, so that equal ranges hold about equally many.
    """
    pieces = min(max(1, -(-num_bytes // piece_bytes)), 16**4)
    cuts = ["", *(f"{number * 16**4 // pieces:04x}" for number in range(1, pieces)), ""]
    return list(itertools.pairwise(cuts))


def in_range(keys: pa.ChunkedArray, keys_from_to: KeyRange) -> pa.ChunkedArray:
    """Whether each key lies in a range."""
    low, high = keys_from_to
    inside = pc.greater_equal(keys, low)
    return pc.and_(inside, pc.less(keys, high)) if high else inside


def one_row_per_key(rows: pa.Table) -> pa.Table:
    """Rows sorted by key, each key once: one with its value before a refusal, a final refusal before a transient one,
    the earliest commit first."""
    if not rows.num_rows:
        return rows
    order = pa.table(
        {
            KEY: rows[KEY],
            "refused": pc.add(
                pc.cast(pc.is_valid(rows[ERROR_CLASS]), pa.int8()),
                pc.cast(pc.fill_null(rows[TRANSIENT], False), pa.int8()),
            ),
            COMMITTED_US: rows[COMMITTED_US],
        }
    )
    indices = pc.sort_indices(order, sort_keys=[(name, "ascending") for name in order.column_names])
    keys = pa.concat_arrays(order[KEY].take(indices).chunks)
    first = np.ones(len(keys), bool)
    first[1:] = np.asarray(pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1)))
    return rows.take(indices.filter(pa.array(first))).combine_chunks()
