"""Intents: small files that say "this micro-batch is with the model now", written before and removed after its commit.

What a killed process leaves behind tells which rows were paid and lost, and which rows kill or stall their process.
Reads and writes `intents/`. Knows nothing of models.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from orchestrator.artifacts.folder import Folder

_TIMED_OUT = "timed-out"
RENEW_S = 15.0  # a living process renews its intent this often
_FOREIGN_LIFE_S = 60.0  # another host's intent of another run is taken for dead when it was not renewed for this long


@dataclass(frozen=True)
class Intent:
    """An attempt at a set of rows.

    Attributes:
        root: digest of the keys of the micro-batch; part: of the keys of this attempt (the same, or a part of it).
        num_rows: rows of the attempt; keys: theirs, so that another run can tell whether it would pay for the same.
    """

    id: str
    root: str
    part: str
    num_rows: int
    run: str
    host: str
    pid: int
    started_s: float
    timed_out: bool = False
    keys: tuple[str, ...] = ()
    renewed_s: float = 0.0

    @property
    def name(self) -> str:
        """The file's name: what can be told without opening it."""
        return f"{self.root}-{self.part}-{_short(self.run)}-{self.id}"

    def is_dead(self, run: str) -> bool:
        """Whether its process has ended, as far as this host can tell.

        Within one run a micro-batch is in one place at a time, so an older attempt of this very run is dead.
        """
        if self.timed_out or self.run == run:
            return True
        if self.host == socket.gethostname():
            return not _alive(self.pid, self.started_s)
        return time.time() - max(self.started_s, self.renewed_s) > _FOREIGN_LIFE_S


class Intents:
    """The intents of one store."""

    def __init__(self, folder: Folder, run: str) -> None:
        self._folder, self._run = folder, run

    def begin(self, root: str, part: str, keys: Sequence[str]) -> Intent:
        """Declare an attempt."""
        name, host, now_s = uuid.uuid4().hex[:12], socket.gethostname(), time.time()
        intent = Intent(name, root, part, len(keys), self._run, host, os.getpid(), now_s, keys=tuple(keys))
        self._write(intent)
        return intent

    def renew(self, intent: Intent) -> None:
        """Tell other hosts that the process is alive."""
        self._write(replace(intent, renewed_s=time.time()))

    def _write(self, intent: Intent) -> None:
        self._folder.write(f"{intent.name}.json", json.dumps(asdict(intent)).encode(), durable=False)

    def time_out(self, intent: Intent) -> None:
        """Mark that the attempt ran out of time; its process ends next."""
        self._folder.write(f"{intent.name}.{_TIMED_OUT}", b"", durable=False)

    def of(self, root: str) -> list[Intent]:
        """The attempts at a micro-batch and its parts that were never ended."""
        return self._read([name for name in self._folder.names() if name.startswith(f"{root}-")])

    def rivals(self, mine: Intent) -> list[Intent]:
        """Living attempts of other runs at some of the same rows that began before `mine`: they are in flight."""
        foreign = [name for name in self._folder.names() if name.split("-")[2:3] != [_short(self._run)]]
        keys = set(mine.keys)
        return [
            intent
            for intent in self._read(foreign)
            if (intent.started_s, intent.id) < (mine.started_s, mine.id)
            and not keys.isdisjoint(intent.keys)
            and not intent.is_dead(self._run)
        ]

    def all(self) -> list[Intent]:
        """Every attempt that was never ended: in flight, or lost."""
        return self._read(self._folder.names())

    def _read(self, names: list[str]) -> list[Intent]:
        timed_out = {name.rpartition(".")[0] for name in names if name.endswith(_TIMED_OUT)}
        found = []
        for name in names:
            if name.endswith(".json"):
                try:
                    fields = json.loads(self._folder.read(name))
                    known = {"timed_out": name.removesuffix(".json") in timed_out, "keys": tuple(fields["keys"])}
                    found.append(Intent(**{**fields, **known}))
                except (
                    FileNotFoundError,
                    ValueError,
                    TypeError,
                    KeyError,
                ):  # ended meanwhile, or cut off when power failed
                    continue
        return found

    def remove_unreadable(self) -> int:
        """Delete files that power failure cut off, and marks without their intent; returns how many."""
        names = self._folder.names()
        good = {intent.name for intent in self._read(names)}
        bad = [name for name in names if name.rpartition(".")[0] not in good]
        for name in bad:
            self._folder.delete(name)
        return len(bad)

    def end(self, intent: Intent) -> None:
        """Take an attempt back: its rows are committed, or counted as lost in a commit."""
        self._folder.delete(f"{intent.name}.json")
        if intent.timed_out:
            self._folder.delete(f"{intent.name}.{_TIMED_OUT}")


def _short(run: str) -> str:
    """The first characters of a run's name that may stand in a file's name."""
    return "".join(letter for letter in run if letter.isalnum())[:8] or "none"


def committed(intents: Sequence[Intent], ledger: pa.Table) -> set[str]:
    """Ids of the attempts whose rows were committed before their process died: it only could not take them back.

    A process has one attempt at a time, so a commit of its own after the attempt began is of that attempt.
    """
    if not intents:
        return set()
    latest: dict[tuple[str, str], int] = {}
    for run, place, when in zip(*(ledger[name].to_pylist() for name in ("run", "place", "committed_us")), strict=True):
        latest[run, place] = max(when, latest.get((run, place), 0))
    return {i.id for i in intents if latest.get((i.run, f"{i.host}:{i.pid}"), 0) >= i.started_s * 1e6}


def _alive(pid: int, started_s: float) -> bool:
    """Whether the process that wrote an intent at `started_s` still runs (a later process may have its number)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot_s = next(
            float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, StopIteration, ValueError):
        return True
    if status[0] == "Z":
        return False
    return boot_s + int(status[19]) / os.sysconf("SC_CLK_TCK") <= started_s + 1.0
