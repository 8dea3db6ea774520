"""Intents: small files that say "this micro-batch is with the model now", written before and removed after its commit.

They keep two processes, of one command or of several, from paying for the same rows at once: each writes its intent,
then looks who else has some of these rows. Who sees nobody goes on. Who sees others draws a ticket above theirs, and
waits for all that have none yet or a smaller one (Lamport's bakery, 1974): whatever is written late or by whichever
clock, of two with a row in common one waits. What a killed process leaves behind tells which rows were paid and lost,
and which rows kill or stall their process.

Reads and writes `intents/`. Knows nothing of models.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

from orchestrator.artifacts.folder import Folder

_TIMED_OUT = "timed-out"
RENEW_S = 10.0  # a living process renews its intent this often
FOREIGN_LIFE_S = 40.0  # seen unchanged for so long, by one's own clock, another machine's intent is dead
_LONG_AGO_S = 900.0  # an intent that old is dead at the first look; no two machines' clocks are so far apart
AT_WORK_S = 900.0  # how long others wait for one that has no time-out
_open: set[str] = set()  # ids of the intents that this process has begun and not ended


@dataclass(frozen=True)
class Intent:
    """An attempt at a set of rows.

    Attributes:
        root: digest of the keys of the micro-batch; part: of the keys of this attempt (the same, or a part of it).
        num_rows: rows of the attempt; keys: theirs, so that another run can tell whether it would pay for the same.
        machine: where `pid` means something: a kernel that is up, and a namespace of processes.
        ticket: place among those that have a row in common; 0: it is looking who they are, or has seen none.
        waits: whether it waits for those before it; at_work_s: how long it may be at work, once it does not.
        renewed_s: when it was last written, by its own clock.
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
    machine: str = ""
    ticket: int = 0
    waits: bool = False
    at_work_s: float = AT_WORK_S
    renewed_s: float = 0.0

    @property
    def name(self) -> str:
        """The file's name: what can be told without opening it."""
        return f"{self.root}-{self.part}-{_short(self.run)}-{self.id}"

    def is_before(self, other: "Intent") -> bool:
        """Whether `other`, which has its ticket, must wait for this one."""
        return not self.ticket or (self.ticket, self.id) < (other.ticket, other.id)


class Intents:
    """The intents of one store, as one process follows them."""

    def __init__(self, folder: Folder, run: str) -> None:
        self._folder, self._run = folder, run
        self._apart: set[str] = set()  # names of others' whose rows are none of `_apart_of`'s
        self._apart_of = ""
        self._seen: dict[str, tuple[float, float]] = {}  # id -> when it was renewed, and when this was first seen

    def begin(self, root: str, part: str, keys: Sequence[str], at_work_s: float = AT_WORK_S) -> Intent:
        """Declare an attempt."""
        now_s = time.time()
        intent = Intent(
            uuid.uuid4().hex[:12], root, part, len(keys), self._run, socket.gethostname(), os.getpid(), now_s,
            keys=tuple(keys), machine=this_machine(), at_work_s=at_work_s, renewed_s=now_s,
        )  # fmt: skip
        _open.add(intent.id)
        try:
            self.write(intent)
        except BaseException:
            self.leave(intent)
            raise
        return intent

    def write(self, intent: Intent) -> None:
        """Write an attempt, as it is now."""
        self._folder.write(f"{intent.name}.json", json.dumps(asdict(intent)).encode(), durable=False)

    def time_out(self, intent: Intent) -> None:
        """Mark that the attempt ran out of time; its process ends next."""
        self._folder.write(f"{intent.name}.{_TIMED_OUT}", b"", durable=False)

    def is_dead(self, intent: Intent) -> bool:
        """Whether its process has ended, or has left it, as far as can be told from here and by now."""
        if intent.timed_out:
            return True
        if intent.machine == this_machine():
            return intent.id not in _open if intent.pid == os.getpid() else not _alive(intent.pid, intent.started_s)
        now_s = time.monotonic()
        stamp, since_s = self._seen.get(intent.id, (0.0, now_s))
        if stamp != intent.renewed_s:
            since_s = now_s
        self._seen[intent.id] = (intent.renewed_s, since_s)
        return now_s - since_s > FOREIGN_LIFE_S or time.time() - intent.renewed_s > _LONG_AGO_S

    def of(self, root: str) -> list[Intent]:
        """The attempts at a micro-batch and its parts that were never ended."""
        return self._read([name for name in self._folder.names() if name.startswith(f"{root}-")])

    def others(self, mine: Intent) -> list[Intent]:
        """Living attempts at some of the same rows: of other runs, and, tried elsewhere, of this run's micro-batch."""
        if self._apart_of != mine.id:
            self._apart, self._apart_of = set(), mine.id
        names = self._folder.names()
        candidates = [name for name in names if self._may_share(name, mine) and name not in self._apart]
        keys, found = set(mine.keys), []
        for intent in self._read(candidates):
            if keys.isdisjoint(intent.keys):
                self._apart.add(f"{intent.name}.json")
            elif not self.is_dead(intent):
                found.append(intent)
        return found

    def _may_share(self, name: str, mine: Intent) -> bool:
        """A run has each row in one micro-batch."""
        root, _, run, rest = [*name.split("-", 3), "", "", ""][:4]
        return rest.partition(".")[0] != mine.id and (root == mine.root or run != _short(self._run))

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
                except (FileNotFoundError, ValueError, TypeError, KeyError):  # ended, or cut off when power failed
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
        self.leave(intent)  # first: where its file cannot be deleted, this process must not wait for itself
        self._folder.delete(f"{intent.name}.json")
        if intent.timed_out:
            self._folder.delete(f"{intent.name}.{_TIMED_OUT}")

    def leave(self, intent: Intent) -> None:
        """Let an attempt of this process count as dead."""
        _open.discard(intent.id)


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


@cache
def this_machine() -> str:
    """Where a process's number means something: this kernel since it came up, and this namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # no Linux
        return socket.gethostname()


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
