"""A folder whose files processes on other machines read and write, in parts, by name.

Reads and writes below its root, and nowhere else. Knows nothing of what the files mean, nor of how it is called.
"""

import os
from collections.abc import Iterable
from glob import escape
from pathlib import Path

from orchestrator.artifacts.manifest import BEGUN_NAME
from orchestrator.artifacts.storage import TEMPORARY_SUFFIX
from orchestrator.errors import ArtifactError

Stamp = tuple[int, int]  # bytes, and the time of the last change in ns
NODE_ONLY = ("hot",)  # folders that each machine makes for itself


class ServedFolder:
    """See the module.

    Args:
        root: names are paths below it, with slashes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._sent: dict[str, tuple[str, int]] = {}  # name -> machine, and the newest state that it has sent

    def listing(self, name: str) -> dict[str, Stamp]:
        """Name -> stamp of a file, or of all files in a folder and below it; empty where there is nothing."""
        return stamps(self._root, self._path(name))

    def artifact(self, name: str) -> str:
        """The folder of the artifact that a file or folder belongs to; itself where it belongs to none."""
        path = self._path(name)
        found = next((one for one in (path, *path.parents) if (one / BEGUN_NAME).is_file()), path)
        return (found if found.is_relative_to(self._root) else path).relative_to(self._root).as_posix()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """At most `size` bytes of a file from `offset` on.

        Raises:
            FileNotFoundError: it is not there (any more).
        """
        with self._path(name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def write(self, name: str, offset: int, data: bytes, stamp: Stamp, writer: tuple[str, str]) -> None:
        """Write a part of a file; the last one gives it its name. A repeated part changes nothing.

        Args:
            stamp: of the whole file, which it then has here as well.
            writer: machine and process. Processes of one machine may send the same file: a state that is older than
                what the machine has sent is passed over.

        Raises:
            ArtifactError: what stands before this part did not come, or was lost.
        """
        (machine, process), path = writer, self._path(name)
        if _stamped(self._root, path).get(name) == stamp:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{process}.{stamp[1]}{TEMPORARY_SUFFIX}")
        before = self._sent.get(name)
        if before is not None and before[0] == machine and before[1] > stamp[1]:
            part.unlink(missing_ok=True)
            return
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            if offset > file.seek(0, os.SEEK_END):
                raise ArtifactError(f"{name}: the part before {offset:,} is not there", remedy="send it from the start")
            file.seek(offset)
            file.write(data)
        if offset + len(data) >= stamp[0]:
            os.utime(part, ns=(stamp[1], stamp[1]))
            part.replace(path)
            self._sent[name] = (machine, stamp[1])
            for left in path.parent.glob(f".{escape(path.name)}.*{TEMPORARY_SUFFIX}"):  # of writers that are lost
                left.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that are there."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def present(self, names: Iterable[str]) -> list[str]:
        """Those of some files that are there."""
        return [name for name in names if self._path(name).is_file()]

    def _path(self, name: str) -> Path:
        path = Path(os.path.normpath(self._root / name))
        if not path.is_relative_to(self._root):
            raise ArtifactError(f"{name} is outside of {self._root}", expected="a name below it")
        return path


def stamps(root: Path, path: Path) -> dict[str, Stamp]:
    """Name below `root` -> stamp of a file or of all files in a folder; unfinished ones are left out."""
    if path.is_dir():
        found: dict[str, Stamp] = {}
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(one for one in folders if one not in NODE_ONLY)
            for name in sorted(names):
                found |= _stamped(root, Path(folder) / name)
        return found
    return _stamped(root, path)


def _stamped(root: Path, path: Path) -> dict[str, Stamp]:
    if path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX):
        return {}
    try:
        about = path.stat()
    except FileNotFoundError:  # removed meanwhile
        return {}
    return {path.relative_to(root).as_posix(): (about.st_size, about.st_mtime_ns)}
