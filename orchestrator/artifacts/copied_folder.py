"""A folder of another machine, worked on in a copy: files are brought when they are needed, and changes are sent back.

Only what is asked for is brought, once, as long as size and time tell that it is the same; of folders that are watched
each change is sent within a second or so, oldest first, and at once where somebody must not go on without it. Reads and
writes both sides. Knows nothing of what the files mean, nor of how the other machine is reached.
"""

import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from orchestrator.artifacts.served_folder import Stamp, stamps
from orchestrator.artifacts.storage import TEMPORARY_SUFFIX
from orchestrator.errors import ArtifactError

PART_BYTES, SEND_EVERY_S, LOCK = 16 * 2**20, 1.0, ".copied.lock"
PASSES = 5  # over a folder in which files are replaced while they are sent
_log = logging.getLogger(__name__)


class Served(Protocol):
    """The other side (see `ServedFolder`)."""

    def listing(self, name: str) -> dict[str, Stamp]:
        """See `ServedFolder`."""

    def artifact(self, name: str) -> str:
        """See `ServedFolder`."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """See `ServedFolder`."""

    def write(self, name: str, offset: int, data: bytes, stamp: Stamp, writer: tuple[str, str]) -> None:
        """See `ServedFolder`."""

    def remove(self, names: Sequence[str]) -> None:
        """See `ServedFolder`."""

    def present(self, names: Sequence[str]) -> list[str]:
        """See `ServedFolder`."""


class CopiedFolder:
    """See the module; one for each process.

    Args:
        root: of the copies; made.
        served: the folder itself.
        machine: names this machine among those that send.

    Raises:
        ArtifactError: the root cannot be written.
    """

    def __init__(self, root: Path, served: Served, machine: str) -> None:
        self._root, self._served, self._writer = root, served, (machine, uuid.uuid4().hex)
        self._known: dict[str, Stamp] = {}
        self._brought: set[str] = set()
        self._watched: dict[str, tuple[str, ...]] = {}  # folder -> names in it that come from the other side
        self._lock, self._ends = threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / LOCK).touch()
        except OSError as error:
            raise ArtifactError(
                f"{root} on {os.uname().nodename}: {error.strerror}",
                expected="a folder for copies of artifacts, which this machine may write",
                remedy="set execution.scratch to one that every machine of the cluster may write",
            ) from error

    def bring(self, path: Path) -> int:
        """Make the copy of a file or folder equal to what is served; returns how many files came."""
        name = self._name(path)
        with self._lock, self._alone():
            there = self._served.listing(name)
            here = stamps(self._root, path)
            for extra in here.keys() - there.keys():
                (self._root / extra).unlink(missing_ok=True)
                self._known.pop(extra, None)
            wanted = [one for one in there if here.get(one) != there[one]]
            for one in wanted:
                self._fetch(one, there[one])
            self._known |= stamps(self._root, path)
            return len(wanted)

    def bring_artifact(self, path: Path) -> None:
        """The same for the whole artifact that a file or folder is of, once in this process."""
        name = self._name(path)
        if name not in self._brought:
            self.bring(self._root / self._served.artifact(name))
            self._brought.add(name)

    def watch(self, path: Path, *, hears: Sequence[str] = (), new_only: bool = False) -> None:
        """From now on send what changes in a folder, against what was there when it was brought.

        Args:
            hears: names of (empty) files in it that come from the other side.
            new_only: what lies there now, and was not brought, is left there; but what came in part is sent whole.
        """
        with self._lock:
            if new_only and self._name(path) not in self._watched:
                there, here = self._served.listing(self._name(path)), stamps(self._root, path)
                in_part = {name for name in here if name in there and there[name][0] < here[name][0]}
                self._known |= {name: here[name] for name in here.keys() - in_part}
            self._watched[self._name(path)] = tuple(hears)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, name="copied-folder", daemon=True)
                self._thread.start()

    def let_go(self, path: Path) -> None:
        """Send what has changed in a folder, and watch it no longer."""
        with self._lock:
            if self._watched.pop(self._name(path), None) is not None:
                self._send(self._name(path))

    def send_file(self, path: Path) -> None:
        """Send a small file as it is now; waits for no other that is on its way."""
        self._known[self._name(path)] = self._put(self._name(path))

    def send(self) -> None:
        """Send what has changed in all watched folders; when it returns the other side has it."""
        with self._lock:
            for name in self._watched:
                self._send(name)

    def close(self) -> None:
        """Send all, and stop."""
        self._ends.set()
        self.send()
        self._watched.clear()

    def _send_for_ever(self) -> None:
        while not self._ends.wait(SEND_EVERY_S):
            try:
                self.send()
                self._hear()
            except Exception as error:  # it is tried again; who must not go on without it calls `send`
                _log.info("sending what has changed: %s", error)

    def _hear(self) -> None:
        with self._lock:
            heard = [f"{folder}/{name}" for folder, names in self._watched.items() for name in names]
        for name in self._served.present(heard) if heard else []:
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).touch()

    def _send(self, folder: str) -> None:
        """Until nothing was replaced on the way, which ends: who waits for it writes no more than is under way."""
        for _ in range(PASSES):
            if self._sent(folder):
                return

    def _sent(self, folder: str) -> bool:
        """Send what a listing tells; False where a file of it was removed for a newer one: that one is not sent yet."""
        heard = {f"{folder}/{name}" for name in self._watched.get(folder, ())}
        here = stamps(self._root, self._root / folder)
        gone = [name for name in self._known if name.startswith(f"{folder}/") and name not in here]
        changed = [name for name in here if self._known.get(name) != here[name] and name not in heard]
        for name in sorted(changed, key=lambda one: here[one][1]):
            try:
                self._known[name] = self._put(name)
            except FileNotFoundError:
                return False
        if gone:  # only now that what replaces it is there
            self._served.remove([name for name in gone if not (self._root / name).is_file()])
            for name in gone:
                del self._known[name]
        return True

    def _put(self, name: str) -> Stamp:
        """Send one state of a file; returns its stamp."""
        path, before = self._root / name, self._known.get(name)
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if before is not None and about.st_mtime_ns < before[1]:  # this machine's clock was set back
                os.utime(path, ns=(before[1] + 1, before[1] + 1))
                about = os.fstat(file.fileno())
            stamp, offset = (about.st_size, about.st_mtime_ns), 0
            while True:
                data = file.read(min(PART_BYTES, stamp[0] - offset))
                self._served.write(name, offset, data, stamp, self._writer)
                offset += len(data)
                if offset >= stamp[0] or not data:
                    return stamp

    def _fetch(self, name: str, stamp: Stamp) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{self._writer[1]}{TEMPORARY_SUFFIX}")
        try:
            with part.open("wb") as file:
                while rest := stamp[0] - file.tell():
                    if not (data := self._served.read(name, file.tell(), min(rest, PART_BYTES))):
                        break  # it was replaced by a shorter one; its stamp is another, too
                    file.write(data)
            os.utime(part, ns=(stamp[1], stamp[1]))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Among the processes of this machine that bring."""
        with (self._root / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
