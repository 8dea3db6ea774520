"""A process that works on a teacher store until it is done or killed: `python -m tests.store_process WHAT STORE ...`.

commit STORE LOG FIRST LAST SIZE: commit rows FIRST to LAST (exclusive) in micro-batches of SIZE, what is missing only;
LOG gets a line before and after each commit. compact STORE SECONDS: compact again and again. die STORES EVERYTHING: for
n = 0, 1, ... copy STORES/base to STORES/n and compact that in a process that ends itself at its n-th file operation.
"""

import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from orchestrator.artifacts import compaction
from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.teacher_store import TeacherStore
from tests.stores import keys, record, rows

DIED = 77
MAX_SMALL_SEGMENTS = 4  # fewer than the product's, so that merging them has fewer moments to die at


class DyingFolder(Folder):
    """Ends the process before one of its writes and deletions; a write leaves half of its temporary file."""

    operations_left: ClassVar[int] = 0

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """See `Folder`."""
        if DyingFolder.operations_left == 0:
            assert self.local is not None
            self.local.mkdir(parents=True, exist_ok=True)
            (self.local / f".{name}.half.tmp").write_bytes(bytes(data)[: len(data) // 2])
        self._count()
        super().write(name, data, durable=durable)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        self._count()
        super().delete(name)

    def _count(self) -> None:
        if DyingFolder.operations_left == 0:
            os._exit(DIED)
        DyingFolder.operations_left -= 1


def commit(store: TeacherStore, log: Path, first: int, last: int, size: int) -> None:
    """Commit what is missing."""
    for start in range(first, last, size):
        numbers = list(range(start, min(start + size, last)))
        if not store.missing(keys(numbers)):
            continue
        cost = record(len(numbers), run=f"{os.getpid():08x}")
        with log.open("a") as lines:
            print("begin", cost.id, len(numbers), file=lines, flush=True)
            store.commit(rows(numbers), cost)
            print("end", cost.id, len(numbers), file=lines, flush=True)


def compact_on(store: TeacherStore, seconds: float) -> None:
    """Compact, every other time wholly."""
    until = time.monotonic() + seconds
    draw = random.Random(os.getpid())
    while time.monotonic() < until:
        compact(store, everything=draw.random() < 0.5)
        time.sleep(draw.random() / 50)


def die_everywhere(folder: Path, everything: bool) -> None:
    """The last folder is of a compaction that did not die."""
    compaction.MAX_SMALL_SEGMENTS = MAX_SMALL_SEGMENTS
    number = 0
    while True:
        target = folder / str(number)
        shutil.copytree(folder / "base", target)
        if (child := os.fork()) == 0:
            DyingFolder.operations_left = number
            compact(TeacherStore(DyingFolder(str(target))), everything=everything)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return
        if code != DIED:
            raise SystemExit(f"operation {number}: exit code {code}")
        number += 1


def main(what: str, store: str, *arguments: str) -> None:
    """Do it."""
    if what == "commit":
        first, last, size = map(int, arguments[1:])
        commit(TeacherStore(store), Path(arguments[0]), first, last, size)
    elif what == "compact":
        compact_on(TeacherStore(store), float(arguments[0]))
    else:
        die_everywhere(Path(store), everything=arguments[0] == "True")


if __name__ == "__main__":
    main(*sys.argv[1:])
