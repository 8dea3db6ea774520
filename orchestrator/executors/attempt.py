"""One attempt at some rows: declared to all, begun when nobody before it has any of them, watched, and ended.

Reads and writes a store's intents. Knows nothing of models or of rows.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from orchestrator.artifacts.intents import AT_WORK_S, RENEW_S, Intent, Intents
from orchestrator.errors import OrchestratorError

EXIT_TIMED_OUT = 70
_MARGIN_S = 60.0  # for decoding and committing, beside the model's time
_LONGEST_PAUSE_S = 1.0


class Attempt:
    """An attempt, from its intent to its end, as a context manager.

    Its intent is renewed all the time, also while it waits. Where it fails while rows that were paid for are not
    committed, it is counted as lost.

    Args:
        part: digest of the keys of this attempt; root: of the keys of the micro-batch.
        timeout_s: of the model; afterwards this process ends itself: libraries cannot be interrupted. None: no limit.
        count_lost: writes into the ledger that the rows of an intent were paid for and lost, and ends it.
    """

    def __init__(
        self, intents: Intents, root: str, part: str, keys: Sequence[str], timeout_s: float | None,
        count_lost: Callable[[Intent], object],
    ) -> None:  # fmt: skip
        self._intents, self._count_lost = intents, count_lost
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        at_work_s = AT_WORK_S if timeout_s is None else timeout_s + _MARGIN_S
        self._named = (root, part, tuple(keys), at_work_s)
        self._changed = threading.Condition()  # holds the intent, the deadline and the end together
        self._deadline = math.inf
        self._is_over = False
        self._owes = False
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self.intent = self._intents.begin(*self._named)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()  # so that no renewal comes after the end of the intent
        if not self._owes:
            self._intents.end(self.intent)
            return
        self._intents.leave(self.intent)
        with suppress(OSError, OrchestratorError):  # of the storage; whoever finds it dead will count it
            self._count_lost(self.intent)

    def wait_for_turn(self) -> None:
        """Wait until no other that began before has some of these rows at work."""
        others = self._intents.others(self.intent)
        if not others:
            return
        self._write(ticket=1 + max(other.ticket for other in others), waits=True)

        def before() -> list[Intent]:
            return [other for other in self._intents.others(self.intent) if other.is_before(self.intent)]

        wait_while(before)
        self._write(waits=False)

    @contextmanager
    def at_work(self, share: float) -> Iterator[None]:
        """While the model works: it has this share of the time-out, and what it answers is owed to the store."""
        self._owes = True
        self._set_deadline(time.monotonic() + self._timeout_s * share)
        try:
            yield
        finally:
            self._set_deadline(math.inf)

    def is_committed(self) -> None:
        """All that was paid for is in the store."""
        self._owes = False

    def _set_deadline(self, deadline: float) -> None:
        with self._changed:
            self._deadline = deadline
            self._changed.notify()

    def _write(self, **changes: object) -> None:
        with self._changed:
            self.intent = replace(self.intent, renewed_s=time.time(), **changes)  # type: ignore[arg-type]
            self._intents.write(self.intent)

    def _watch(self) -> None:
        next_s = time.monotonic() + RENEW_S
        with self._changed:
            while not self._is_over:
                now_s = time.monotonic()
                if now_s >= self._deadline:
                    self._give_up()
                if now_s >= next_s:
                    next_s = now_s + RENEW_S
                    with suppress(OSError, OrchestratorError):  # the next one may succeed
                        self.intent = replace(self.intent, renewed_s=time.time())
                        self._intents.write(self.intent)
                self._changed.wait(max(0.0, min(next_s, self._deadline) - time.monotonic()))

    def _give_up(self) -> None:
        try:
            self._intents.time_out(self.intent)
        finally:  # also when the mark could not be written
            os._exit(EXIT_TIMED_OUT)


def wait_while(rivals: Callable[[], list[Intent]]) -> None:
    """Wait while some of those that `rivals` finds alive wait themselves, or are at work for no longer than they may.

    How long they are at work is told by one's own clock, from the first look.
    """
    at_work: dict[str, float] = {}
    pause_s = 0.02
    while True:
        now_s = time.monotonic()
        found = rivals()
        at_work = {one.id: at_work.get(one.id, now_s) for one in found if not one.waits}
        if all(not one.waits and now_s - at_work[one.id] > one.at_work_s for one in found):
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
