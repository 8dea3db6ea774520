"""A cheap stamp of the files a data set is made of: names, sizes and times, without reading them.

Reads directory entries. Knows nothing of formats. A changed stamp makes the index anew; contents are hashed there.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from orchestrator.artifacts.fingerprint import digest_bytes


def stamp_files(paths: Iterable[Path]) -> str:
    """Digest of name, size and modification time of the files, and of all files below the folders, in `paths`."""
    rows: list[str] = []
    for path in paths:
        if path.is_dir():
            for parent, folders, names in os.walk(path):
                folders.sort()
                rows += [_row(Path(parent, name), path) for name in sorted(names)]
        else:
            rows.append(_row(path, path.parent))
    return digest_bytes("\n".join(rows).encode("utf-8", "surrogateescape"))


def _row(path: Path, root: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path.relative_to(root)} unreadable"
    return f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}"
