"""Fingerprints: a short digest of anything JSON can say, and of files.

Reads files when asked for their digest. Knows nothing of what is fingerprinted.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def digest_bytes(data: bytes | memoryview) -> str:
    """32 hexadecimal digits (BLAKE2b, 128 bits) of `data`."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def fingerprint(value: Any) -> str:
    """Digest of a JSON-able value; the order of mapping keys does not matter.

    Raises TypeError for values JSON cannot say, so that nothing enters an identity by its `repr`.
    """
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def digest_file(path: Path) -> str:
    """Digest of one file's bytes, read in chunks of 1 MiB."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()


def digest_folder(folder: Path, suffixes: Iterable[str] = ()) -> str:
    """Digest of every file below `folder` (relative name and bytes), optionally only names ending in `suffixes`."""
    wanted = tuple(suffixes)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and (not wanted or path.name.endswith(wanted)))
    return fingerprint([[path.relative_to(folder).as_posix(), digest_file(path)] for path in files])


def differing_fields(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Lines `path: old -> new` for every leaf in which two JSON-able trees differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        lines: list[str] = []
        for key in sorted({*old, *new}):
            path = f"{prefix}.{key}" if prefix else str(key)
            lines += differing_fields(old.get(key), new.get(key), path)
        return lines
    return [] if old == new else [f"{prefix}: {json.dumps(old)} -> {json.dumps(new)}"]
