"""Which commands of an experiment live, by a lock that the kernel takes back when a process ends in whatever way.

Writes `SPOOL/present/NAME.lock` and `SPOOL/root`. Knows nothing of MLflow.
"""

import fcntl
import os
import re
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self


class Presence:
    """A context manager: while it is open, other commands of the same experiment and storage root know of this one."""

    def __init__(self, spool_dir: Path, name: str) -> None:
        self._path = Path(spool_dir) / "present" / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.lock"

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._path.open("a")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def is_alone(self) -> bool:
        """Whether no other command of the experiment lives: then what they left open was left for good."""
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        fcntl.flock(self._stream, fcntl.LOCK_SH)
        return alone


def root_identity(spool_dir: Path) -> str:
    """The identity of a storage root, drawn once: another root's runs of the same names are other runs."""
    path = Path(spool_dir) / "root"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        drawn = path.with_name(f".root.{uuid.uuid4().hex}")
        drawn.write_text(uuid.uuid4().hex)
        try:
            os.link(drawn, path)  # whoever comes first decides
        except FileExistsError:
            pass
        finally:
            drawn.unlink()
    return path.read_text().strip()
