"""A storage root on an object store, worked on in a local folder: what is finished is sent there, the manifest last.

Objects cannot be memory-mapped, appended to or renamed, which artifacts need while they are made and read. So they are
made and read in a local folder, and each artifact is sent whole: its files, then `contents.json` (their digests and a
version), then its manifest. Before a command works, what the store has and the local folder lacks, or holds in another
version, is fetched and compared with its digests. The store is the truth; the local folder may be lost at any time.

Reads and writes both. Knows nothing of stages. One command at a time may work on an experiment.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.folder import DamagedFileError, Folder
from orchestrator.artifacts.manifest import BEGUN_NAME, MANIFEST_NAME
from orchestrator.artifacts.storage import TEMPORARY_SUFFIX, read_json, write_json

CONTENTS, SEEN = "contents.json", ".mirror"
DERIVED = ("hot", "checkpoints")  # made again from the artifact, or kept elsewhere (`Execution.checkpoint_settings`)
Digests = dict[str, str]  # path below the folder -> digest


@dataclass
class Mirror:
    """A storage root elsewhere and its local folder.

    Attributes:
        remote: the storage root.
        local: the folder on this machine.
    """

    remote: Folder
    local: Path
    _fetched: set[str] = field(default_factory=set)

    def fetch(self, name: str) -> int:
        """Bring the local folder of an experiment up to date, once in a command; returns how many files came.

        Raises:
            DamagedFileError: a finished artifact does not hold what its contents say.
        """
        if name in self._fetched:
            return 0
        self._fetched.add(name)
        found = self.remote.child(name).below(CONTENTS)
        return sum(self._fetch((Path(name) / path).parent) for path in found)

    def _fetch(self, path: Path) -> int:
        """Bring one folder up to date; local work on the version that the store has is kept."""
        remote, local = self._remote(path), self.local / path
        contents = json.loads(remote.read(CONTENTS))
        if self._seen(path).get("version") == contents["version"]:
            return 0
        self._discard(path)
        digests: Digests = contents["files"]
        finished = MANIFEST_NAME in remote.names()
        wanted = [name for name in digests if name != MANIFEST_NAME]

        def get(name: str) -> None:
            there = remote.child(str(Path(name).parent)) if "/" in name else remote
            there.download(Path(name).name, local / name)
            if finished and digest_file(local / name) != digests[name]:
                (local / name).unlink()
                raise DamagedFileError(
                    f"{remote}/{name} is not what was sent there",
                    expected="the digest in its contents.json",
                    remedy="delete the artifact's objects in the store; it is then made anew",
                )

        remote.each(get, wanted)
        if finished:
            remote.download(MANIFEST_NAME, local / MANIFEST_NAME)
        self._see(path, contents["version"], digests)
        return len(digests)

    def send(self, folder: Path) -> int:
        """Send what has changed in an artifact's folder; its manifest, where it is finished, last.

        Args:
            folder: in the local folder. That of an experiment stands for its files outside artifacts.

        Returns:
            How many files were sent.
        """
        path = folder.relative_to(self.local)
        remote, seen = self._remote(path), self._seen(path)
        stamps = {name: _stamp(folder / name) for name in _files(folder)}
        if stamps == seen.get("stamps"):
            return 0
        before: Digests = seen.get("files", {})
        changed = [name for name, stamp in stamps.items() if seen.get("stamps", {}).get(name) != stamp]
        digests = {name: before[name] for name in stamps if name not in changed}
        digests |= {name: digest_file(folder / name) for name in changed}
        remote.delete(MANIFEST_NAME)

        def put(name: str) -> None:
            there = remote.child(str(Path(name).parent)) if "/" in name else remote
            there.upload(folder / name, Path(name).name)

        new = [name for name in changed if digests[name] != before.get(name) and name != MANIFEST_NAME]
        remote.each(put, new)
        version = uuid.uuid4().hex
        remote.write(CONTENTS, json.dumps({"version": version, "files": digests}, indent=1).encode())
        if MANIFEST_NAME in stamps:
            put(MANIFEST_NAME)
        self._see(path, version, digests, stamps)
        remote.each(
            lambda name: self._remote(path / Path(name).parent).delete(Path(name).name), before.keys() - digests
        )
        return len(new) + (MANIFEST_NAME in stamps)

    def drop(self, folder: Path) -> None:
        """Remove an artifact from the store, its manifest first; the local one is the caller's."""
        path = folder.relative_to(self.local)
        remote = self._remote(path)
        remote.delete(MANIFEST_NAME)
        contents = json.loads(remote.read(CONTENTS)) if CONTENTS in remote.names() else {"files": {}}
        self._delete(path, contents["files"])
        remote.delete(CONTENTS)
        self._state(path).unlink(missing_ok=True)

    def _remote(self, path: Path) -> Folder:
        return self.remote if path == Path() else self.remote.child(path.as_posix())

    def _delete(self, path: Path, names: Iterable[str]) -> None:
        self.remote.each(lambda name: self._remote(path / Path(name).parent).delete(Path(name).name), names)

    def _discard(self, path: Path) -> None:
        """Drop local work on another version than the store's."""
        folder = self.local / path
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        for name in list(_files(folder)):
            (folder / name).unlink()
        for name in DERIVED:
            shutil.rmtree(folder / name, ignore_errors=True)

    def _state(self, path: Path) -> Path:
        return self.local / SEEN / f"{path.as_posix()}.json"

    def _seen(self, path: Path) -> dict[str, Any]:
        state = self._state(path)
        found: dict[str, Any] = read_json(state) if state.is_file() else {}
        return found

    def _see(self, path: Path, version: str, files: Digests, stamps: Mapping[str, Any] | None = None) -> None:
        folder = self.local / path
        if stamps is None:
            stamps = {name: _stamp(folder / name) for name in _files(folder)}
        write_json(self._state(path), {"version": version, "files": files, "stamps": stamps})


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _files(folder: Path, below: str = "") -> Iterator[str]:
    """Paths of the files of one artifact, or of those of an experiment outside its artifacts."""
    if not (folder / below).is_dir():
        return
    for path in sorted((folder / below).iterdir()):
        name = f"{below}/{path.name}" if below else path.name
        if path.name.startswith(".") or path.name.endswith(TEMPORARY_SUFFIX) or path.name in DERIVED:
            continue
        if path.is_dir():
            if not (path / BEGUN_NAME).is_file():  # another artifact
                yield from _files(folder, name)
        else:
            yield name
