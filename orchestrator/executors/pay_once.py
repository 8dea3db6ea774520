"""What an actor does with a micro-batch so that each row is paid once: look, declare, compute, commit.

Rows that another run committed meanwhile are not computed again. A row whose image cannot be read, or which the model
refuses, fails on, crashes or stalls in, is isolated by halving and costs only itself. Reads and commits to one teacher
store. Knows nothing of what a row holds, nor of Ray.
"""

import os
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.artifacts.intents import Intent
from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.news import StoreNews
from orchestrator.artifacts.teacher_store import (
    ERROR_CLASS,
    ERROR_MESSAGE,
    KEY,
    PATH,
    TRANSIENT,
    TeacherStore,
    digest_keys,
)
from orchestrator.captioners.protocol import Refusal, Usage
from orchestrator.errors import OrchestratorError
from orchestrator.executors.attempt import Attempt, wait_while

_MESSAGE_CHARS = 500
_DEATHS_OF_A_MICRO_BATCH = 2  # a first death may be anybody's; after the second its rows are suspects
_SMALLEST_SHARE = 1 / 8  # of the time-out, for a part of a micro-batch

Row = Mapping[str, Any]


class TeacherFunction(Protocol):
    """What one kind of teacher output supplies inside an actor; an item is what the model takes for some keys."""

    usage: Usage

    def prepare(self, row: Row) -> Any:
        """Decode an item (row: the plan's columns, `keys` among them). Raises ValueError or OSError for a bad one."""

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """A value or a `Refusal` for each of the keys of each prepared item."""

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """The store's value columns for keys given as (item's row, position among its keys); None = refused."""


@dataclass
class _Item:
    row: Row
    positions: list[int]  # of its keys that are meant here
    prepared: Any = None

    @property
    def keys(self) -> list[str]:
        return [self.row["keys"][position] for position in self.positions]

    def without(self, settled: set[str]) -> "_Item":
        return _Item(self.row, [p for p in self.positions if self.row["keys"][p] not in settled], self.prepared)


@dataclass
class _Outcome:
    item: _Item
    position: int
    value: Any


class PayOnce:
    """Applies a `TeacherFunction` to micro-batches and commits each; one lives in each actor.

    Args:
        run: identity of the command that pays.
        known: names of the store's files when the work was planned.
        timeout_s: of a micro-batch; afterwards the process ends itself and a new one isolates the row. None: no limit
            (where the process is not the engine's to end).
    """

    def __init__(
        self, store: TeacherStore, run: str, known: Sequence[str], function: TeacherFunction, timeout_s: float | None
    ) -> None:
        self._store, self._run, self._function, self._timeout_s = store, run, function, timeout_s
        self._intents = store.intents(run)
        self._news = StoreNews(store, run, known)
        self._limit = sys.maxsize  # items at once, lowered when memory runs out
        self._model_rows = self._done = self._refused = 0
        self._used: Counter[str] = Counter()
        self._started = 0.0

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Commit what is missing of a micro-batch; returns one receipt: rows done, refused, reused, and seconds."""
        begun = time.monotonic()
        items = [_Item(row, list(range(len(row["keys"])))) for row in rows.to_pylist()]
        planned = [key for item in items for key in item.keys]
        root = digest_keys(planned)
        lost = self._wait_for_ends(root)
        settled = self._news.settled(planned, root)
        self._done = self._refused = 0
        if len(settled) < len(planned):
            self._started = time.monotonic()
            if sum(i.part == root for i in lost) < _DEATHS_OF_A_MICRO_BATCH and not any(i.timed_out for i in lost):
                self._attempt(items, settled, root)
            else:
                self._isolate(items, settled, root, lost, len(planned))
        if lost:  # only now that all rows are settled: until then they are what tells the suspects
            self._store.count_lost(lost, self._run)
        receipt = {"done": self._done, "refused": self._refused, "reused": len(planned) - self._done - self._refused}
        return pa.Table.from_pylist([{**receipt, "seconds": time.monotonic() - begun}])

    def _wait_for_ends(self, root: str) -> list[Intent]:
        """Wait while others are at this micro-batch; the attempts at it whose processes have ended."""
        dead: list[Intent] = []

        def living() -> list[Intent]:
            found = self._intents.of(root)
            dead[:] = [one for one in found if self._intents.is_dead(one)]
            return [one for one in found if one not in dead]

        wait_while(living)
        return dead

    def _prepare(self, items: list[_Item]) -> tuple[list[_Item], list[_Outcome]]:
        good, bad = [], []
        for item in items:
            try:
                item.prepared = self._function.prepare(item.row)
                good.append(item)
            except (ValueError, OSError) as error:
                refusal = _refusal(error, transient=isinstance(error, OSError))  # a file may come back
                bad += [_Outcome(item, position, refusal) for position in item.positions]
        return good, bad

    def _attempt(self, items: list[_Item], settled: set[str], root: str, share: float = 1.0) -> None:
        """Declare, compute and commit what is not settled of some planned items, in one commit."""
        planned = [key for item in items for key in item.keys]
        keys = [key for key in planned if key not in settled]
        with Attempt(self._intents, root, digest_keys(planned), keys, self._timeout_s, self._count_lost) as attempt:
            attempt.wait_for_turn()
            # Looked at again now that others can see the intent: nobody pays for what another has paid meanwhile.
            settled = settled | self._news.settled(keys, root)
            good, outcomes = self._prepare([rest for item in items if (rest := item.without(settled)).positions])
            try:
                if good:
                    with attempt.at_work(share):
                        self._compute(good, outcomes)
            except OrchestratorError:  # ends the run; what the model had answered before is kept
                self._commit(outcomes, root)
                attempt.is_committed()
                raise
            self._commit(outcomes, root)
            attempt.is_committed()

    def _count_lost(self, intent: Intent) -> None:
        self._store.count_lost([intent], self._run)

    def _isolate(self, items: list[_Item], settled: set[str], root: str, lost: list[Intent], num_all: int) -> None:
        """Compute suspects in parts, each committed by itself; a part that ended its process before is halved."""
        keys = [key for item in items for key in item.keys]
        ended = [intent for intent in lost if intent.part == digest_keys(keys)]
        if settled.issuperset(keys):
            return
        if not ended:
            self._attempt(items, settled, root, max(_SMALLEST_SHARE, len(keys) / num_all))
        elif len(keys) == 1:
            refusal = Refusal("ProcessDied", f"{len(ended)} processes ended while the model had only this row")
            if any(intent.timed_out for intent in ended):
                refusal = Refusal("TimedOut", "the model did not answer in time when it had only this row")
            self._commit([_Outcome(items[0], items[0].positions[0], refusal)], root)
        else:
            for half in _halves(items):
                self._isolate(half, settled, root, lost, num_all)

    def _compute(self, items: list[_Item], outcomes: list[_Outcome]) -> None:
        """Add the outcome of each key, chunk by chunk, so that they are there when a later chunk fails altogether."""
        start = 0
        while start < len(items):
            chunk = items[start : start + self._limit]
            self._compute_or_halve(chunk, outcomes)
            start += len(chunk)

    def _compute_or_halve(self, items: list[_Item], outcomes: list[_Outcome]) -> None:
        try:
            self._model_rows += sum(len(item.positions) for item in items)
            asked = [({**item.row, "keys": item.keys, "positions": item.positions}, item.prepared) for item in items]
            values = self._function.compute(asked)
            outcomes += [
                _Outcome(item, position, value)
                for item, answers in zip(items, values, strict=True)
                for position, value in zip(item.positions, answers, strict=True)
            ]
            return
        except OrchestratorError:  # not about a row: a missing key, a refused account
            raise
        except Exception as error:
            out_of_memory = _is_out_of_memory(error)
            if out_of_memory:
                _free_memory()
            if len(items) == 1 and len(items[0].positions) == 1:
                refusal = (
                    Refusal("OutOfMemory", str(error), True) if out_of_memory else _refusal(error, transient=False)
                )
                outcomes.append(_Outcome(items[0], items[0].positions[0], refusal))
                return
            if out_of_memory and len(items) > 1:
                self._limit = len(items) // 2
                self._compute(items, outcomes)
                return
        for half in _halves(items):
            self._compute_or_halve(half, outcomes)

    def _commit(self, outcomes: list[_Outcome], root: str) -> None:
        if not outcomes:
            return
        rows = [(outcome.item.row, outcome.position) for outcome in outcomes]
        values = [None if isinstance(outcome.value, Refusal) else outcome.value for outcome in outcomes]
        refusals = [outcome.value if isinstance(outcome.value, Refusal) else None for outcome in outcomes]
        table = {
            KEY: pa.array([row["keys"][position] for row, position in rows], pa.string()),
            **self._function.columns(rows, values),
            ERROR_CLASS: pa.array([refusal and refusal.error_class for refusal in refusals], pa.string()),
            ERROR_MESSAGE: pa.array(
                [refusal and refusal.message[:_MESSAGE_CHARS] for refusal in refusals], pa.string()
            ),
            TRANSIENT: pa.array([refusal is not None and refusal.transient for refusal in refusals], pa.bool_()),
            PATH: pa.array([row.get("path") for row, _ in rows], pa.string()),
        }
        total = Counter(self._function.usage.counts)
        used = {name: float(amount - self._used[name]) for name, amount in total.items() if amount != self._used[name]}
        self._used = total
        num_refused = sum(refusal is not None for refusal in refusals)
        record = CommitRecord(
            id=uuid.uuid4().hex,
            run=self._run,
            place=f"{socket.gethostname()}:{os.getpid()}",
            done=len(outcomes) - num_refused,
            refused=num_refused,
            forwards=used.pop("forwards", 0.0),
            model_rows=self._model_rows,
            seconds=round(time.monotonic() - self._started, 4),
            usage=used,
        )
        self._model_rows = 0
        self._store.commit(pa.table(table), record, micro_batch=root)
        self._done += record.done
        self._refused += record.refused
        self._started = time.monotonic()


def _halves(items: list[_Item]) -> list[list[_Item]]:
    """Two halves by items, or, of a single item, by its keys."""
    if len(items) > 1:
        middle = len(items) // 2
        return [items[:middle], items[middle:]]
    (item,) = items
    middle = len(item.positions) // 2
    return [[_Item(item.row, part, item.prepared)] for part in (item.positions[:middle], item.positions[middle:])]


def _refusal(error: BaseException, *, transient: bool) -> Refusal:
    cause = error.__cause__ if isinstance(error, OrchestratorError) and error.__cause__ else error
    message = error.wrong if isinstance(error, OrchestratorError) else str(error)
    return Refusal(type(cause).__name__, message or type(cause).__name__, transient)


def _is_out_of_memory(error: BaseException) -> bool:
    """PyTorch raises OutOfMemoryError on a GPU and a RuntimeError that says so on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _free_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
