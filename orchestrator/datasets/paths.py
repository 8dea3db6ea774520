"""Files that lists and annotations name, found below a root and never outside it.

Holds lookups only. Asks the file system for the kind and size of files; reads none. Knows nothing of formats.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from orchestrator.errors import DataError

Address = tuple[str, int, int]  # path, offset, size
Lookup = Callable[[str], Address | None]


def leaves_root(name: str) -> bool:
    """Whether a relative path is none: it is absolute, or holds `..`, or a byte that no path holds."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name


def folder_lookup(root: Path, *, follow_links: bool = False) -> Lookup:
    """A function from a relative path to (path, 0, size in bytes) of that file below `root`, None where there is none.

    The root itself may be a link. The function raises DataError for a path that leaves the root by itself or, but for
    `follow_links`, through a link below it: a list from outside must not be able to name just any file of this machine.
    One system call for each file and one resolution for each folder, so that half a million files take seconds.
    """
    top = str(root.resolve())
    good_folders: dict[str, bool] = {}

    def inside(path: str) -> bool:
        real = os.path.realpath(path)
        return real == top or real.startswith(top.rstrip(os.sep) + os.sep)

    def find(name: str) -> Address | None:
        if leaves_root(name):
            raise DataError(f"{name!r} leaves the root (absolute, or with ..)")
        path = f"{top}{os.sep}{PurePosixPath(name)}"
        try:
            status = os.lstat(path)
            if linked := stat.S_ISLNK(status.st_mode):
                status = os.stat(path)  # noqa: PTH116 (a Path costs more than the call)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        folder = os.path.dirname(path)  # noqa: PTH120 (as above)
        if folder not in good_folders:
            good_folders[folder] = follow_links or inside(folder)
        if not good_folders[folder] or (linked and not follow_links and not inside(path)):
            raise DataError(f"{name!r} leaves the root through a link")
        return path, 0, status.st_size

    return find
