"""Whether places are what all nodes of a cluster share: each process leaves a file there and looks for the others'.

Writes, renames, reads and removes small files. Knows nothing of how processes are reached.
"""

import os
import shutil
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.artifacts.folder import Folder
from orchestrator.errors import ArtifactError, OrchestratorError

DRIVER = "driver"


@dataclass(frozen=True)
class Seen:
    """What one process saw.

    Attributes:
        host: where it ran.
        unix_s: its clock when it looked.
        problems: what is wrong, by place; empty where nothing is.
    """

    host: str
    unix_s: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class StorageProbe:
    """One look at some places; travels to other processes.

    Attributes:
        places: setting -> folder or URI.
    """

    places: Mapping[str, str]
    _id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _data: bytes = field(default_factory=lambda: os.urandom(256))

    def _folder(self, place: str) -> Folder:
        return Folder(self.places[place]).child(f".probe-{self._id}")

    def leave(self, name: str) -> Seen:
        """Write this process' file in each place (under a temporary name, then renamed), and read it back."""
        return self._seen(name, write=name, read=[name])

    def look(self, name: str) -> Seen:
        """Read the driver's file in each place, and leave one of our own."""
        return self._seen(name, read=[DRIVER], write=name)

    def find(self, names: Sequence[str]) -> Seen:
        """Read the files of all these processes in each place."""
        return self._seen(DRIVER, read=names)

    def _seen(self, who: str, *, read: Sequence[str], write: str | None = None) -> Seen:
        problems: list[str] = []
        for place in self.places:
            shown = f"{place} {Folder(self.places[place])}"
            try:
                folder = self._folder(place)
                if write is not None:
                    folder.write(write, self._data + write.encode())
                for name in read:
                    if folder.read(name) != self._data + name.encode():
                        problems.append(f"{shown}: other bytes than {name} wrote")
            except FileNotFoundError:
                problems.append(f"{shown}: {_whose(read)} is not there, so it is another folder")
            except (OSError, OrchestratorError) as error:
                told = error.wrong if isinstance(error, OrchestratorError) else error.strerror or str(error)
                problems.append(f"{shown}: {told}")
        return Seen(socket.gethostname(), time.time(), tuple(problems))

    def clear(self, names: Sequence[str]) -> None:
        """Remove what was left, as far as it is reached."""
        for place in self.places:
            folder = self._folder(place)
            try:
                folder.delete_all([DRIVER, *names])
            except (OSError, OrchestratorError):
                continue
            if folder.local is not None:
                shutil.rmtree(folder.local, ignore_errors=True)


def _whose(names: Sequence[str]) -> str:
    return "the driver's file" if list(names) == [DRIVER] else f"the file of {' or '.join(names)}"


def raise_unshared(seen: Mapping[str, Seen]) -> None:
    """Refuse places that are not shared.

    Raises:
        ArtifactError: naming each process and what it met.
    """
    problems = [f"{name} ({one.host}): {problem}" for name, one in seen.items() for problem in one.problems]
    if problems:
        shown = "\n    ".join(problems[:10]) + (f"\n    ... and {len(problems) - 10} more" if problems[10:] else "")
        raise ArtifactError(
            f"the nodes do not share their storage:\n    {shown}",
            expected="the same folder or bucket, which every node may write, under the same name",
            remedy="mount it on every node (docs/clusters.md), or name another place with --set storage_root=..., "
            "store_root=... or checkpoints.root=...",
        )
