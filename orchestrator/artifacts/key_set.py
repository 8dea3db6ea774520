"""A set of row keys in 16 bytes each, for millions of them.

Reads nothing. Knows nothing of stores.
"""

import hashlib
import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_DIGITS = 32
_NIBBLE = np.full(256, 255, np.uint8)  # character code -> value of a hexadecimal digit, 255 = not one
_NIBBLE[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)
_IS_KEY = re.compile(r"[0-9a-f]{32}").fullmatch

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


def pack_keys(keys: pa.Array | pa.ChunkedArray) -> Words:
    """Keys as numbers (rows, 2), in the order of the keys: 32 hexadecimal digits each; other strings are hashed."""
    chunks = keys.chunks if isinstance(keys, pa.ChunkedArray) else [keys]
    packed = [_pack(chunk) for chunk in chunks if len(chunk)]
    return np.concatenate(packed) if packed else np.empty((0, 2), np.uint64)


def _pack(keys: pa.Array) -> Words:
    array = keys.cast(pa.large_string())
    _, offset_bytes, data = array.buffers()
    offsets = np.frombuffer(offset_bytes, np.int64)[array.offset : array.offset + len(array) + 1]
    if data is not None and (np.diff(offsets) == _DIGITS).all():
        nibbles = _NIBBLE[np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]]
        if nibbles.max() < 16:
            raw = (nibbles[0::2] << 4) | nibbles[1::2]
            return raw.view(">u8").astype(np.uint64).reshape(-1, 2)
    found = [
        bytes.fromhex(key) if _IS_KEY(key) else hashlib.blake2b(key.encode(), digest_size=16).digest()
        for key in array.to_pylist()
    ]
    return np.frombuffer(b"".join(found), ">u8").astype(np.uint64).reshape(-1, 2)


def order_of(packed: Words) -> Places:
    """Indices that sort packed keys; stable, and fast where long runs are sorted already."""
    order = np.argsort(packed[:, 0], kind="stable")
    high = packed[order, 0]
    if (high[1:] == high[:-1]).any():  # the same key again, or (once in 2^64 pairs) two that begin alike
        order = np.lexsort((packed[:, 1], packed[:, 0]))
    return order


def of_several_commits(packed: Words, committed_us: npt.NDArray[np.int64]) -> tuple[Places, Places]:
    """Places of rows whose key an earlier commit has as well, and of that commit's rows.

    Copies of one row, which compactions leave when they overtake each other or are killed, are of one commit.
    """
    order = order_of(packed)
    if not (packed[order[1:]] == packed[order[:-1]]).all(axis=1).any():  # nearly always
        return order[:0], order[:0]
    order = np.lexsort((committed_us, packed[:, 1], packed[:, 0]))
    later, earlier = order[1:], order[:-1]
    found = (packed[later] == packed[earlier]).all(axis=1) & (committed_us[later] != committed_us[earlier])
    return later[found], earlier[found]


class KeySet:
    """Some keys (packed or not), sorted; a key may be given more than once."""

    def __init__(self, keys: pa.Array | pa.ChunkedArray | Words) -> None:
        packed = keys if isinstance(keys, np.ndarray) else pack_keys(keys)
        packed = packed[order_of(packed)]
        self._high, self._low = np.ascontiguousarray(packed[:, 0]), np.ascontiguousarray(packed[:, 1])

    def __len__(self) -> int:
        return len(self._high)

    def has(self, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Whether each of `keys` is in the set."""
        wanted = pack_keys(keys)
        found = np.zeros(len(wanted), bool)
        if not len(self._high) or not len(wanted):
            return found
        order = np.argsort(wanted[:, 0])  # in order, the search walks through memory instead of jumping
        high, low = wanted[order, 0], wanted[order, 1]
        place = np.searchsorted(self._high, high)
        active = np.arange(len(order))
        while len(active):
            at = place[active]
            active = active[(at < len(self._high)) & (self._high[np.minimum(at, len(self._high) - 1)] == high[active])]
            hit = self._low[place[active]] == low[active]
            found[order[active[hit]]] = True
            active = active[~hit]
            place[active] += 1
        return found
