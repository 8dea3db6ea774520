"""How arrays travel to other processes: a memory-mapped one by the name of its file, so that nothing is copied.

Registers that with multiprocessing when it is imported. Reads and writes nothing itself. Knows nothing of images.
"""

import mmap
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def whole_file_of(array: Array) -> np.memmap[Any, Any] | None:
    """The memory-mapped array that this one is a view of, or None when it lies in memory."""
    found: Any = array
    while isinstance(found, np.ndarray):
        behind: Any = found.base
        if isinstance(found, np.memmap) and isinstance(behind, mmap.mmap):
            return found
        found = behind
    return None


def map_file(path: str, dtype: str, offset: int, shape: tuple[int, ...]) -> Array:
    """Part of a file as a read-only array, as a plain view: slicing an `np.memmap` makes another one each time."""
    return np.asarray(np.memmap(path, np.dtype(dtype), "r", offset, shape))


def _reduced(array: Array) -> Any:
    mapped = whole_file_of(array) if array.flags.c_contiguous and array.size else None
    if mapped is None or mapped.filename is None or array.dtype.hasobject:
        return array.__reduce__()
    start = array.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    return map_file, (str(Path(mapped.filename).resolve()), array.dtype.str, mapped.offset + start, array.shape)


ForkingPickler.register(np.ndarray, _reduced)
ForkingPickler.register(np.memmap, _reduced)
