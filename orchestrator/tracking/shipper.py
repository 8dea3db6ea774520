"""Brings spooled events to their sink, from a thread of the command, without ever disturbing training.

Reads the spool files; writes `SPOOL/shipped.json` (file name -> bytes sent), atomically and only after the sink
accepted the batch: each event arrives at least once. One shipper works on a spool at a time (a lock
file); a second one waits. Knows nothing of MLflow.
"""

import fcntl
import json
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from orchestrator.secrecy import redacted
from orchestrator.tracking.events import WITH_FILES, Event
from orchestrator.tracking.spool import SpooledEvent, read_spool

BATCH_EVENTS = 1000
MAX_BACKOFF_S = 60.0
DRAIN_RETRY_S = 2.0
MAX_UNHEARD_FAILURES = 4  # of a store that has never answered; what it does not get waits for the next command
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where events go. `send` returns when they were accepted and raises when they should be sent again later."""

    def send(self, events: Sequence[Event]) -> None:
        """Deliver events, in order."""


class Shipper:
    """Sends what lies in `spool_dir`, from now and from earlier commands, to `sink`; a context manager.

    `destination` names the sink in messages. Leaving the context drains for at most `drain_s` seconds, and ends earlier
    where the sink has failed from the start, `max_unheard_failures` times.
    """

    def __init__(
        self,
        spool_dir: Path,
        sink: Sink,
        *,
        destination: str = "MLflow",
        period_s: float = 1.0,
        drain_s: float = 60.0,
        max_unheard_failures: int = MAX_UNHEARD_FAILURES,
    ) -> None:
        self.spool_dir, self.sink, self.destination = Path(spool_dir).resolve(), sink, destination
        self.period_s, self.drain_s, self.max_unheard_failures = period_s, drain_s, max_unheard_failures
        self._thread: threading.Thread | None = None
        self._wake, self._stop, self._draining = threading.Event(), threading.Event(), threading.Event()
        self._warned, self._heard, self._failures = False, False, 0

    def __enter__(self) -> "Shipper":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread; repeated calls do nothing."""
        if self._thread is None:
            self.spool_dir.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._work, name="metrics-shipper", daemon=True)
            self._thread.start()

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything written so far was sent; False, with one line that says what stays, when it was not."""
        self.start()
        deadline, pause_s = time.monotonic() + timeout_s, min(0.05, self.period_s)
        enough = max(self.max_unheard_failures, self._failures + 1)
        self._draining.set()
        try:
            while self.pending():
                is_silent = not self._heard and self._failures >= enough
                if is_silent or time.monotonic() >= deadline:
                    break
                self._wake.set()
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, 0.5)  # a look reads all that is left, which may be much
        finally:
            self._draining.clear()
        left = self.pending()
        if left:
            _log.warning(
                "tracking: %d events could not be sent to %s; they stay in %s and the next command sends them",
                left,
                self.destination,
                self.spool_dir,
            )
        return not left

    def close(self) -> bool:
        """Drain, then stop the thread; True when nothing is left."""
        done = self.drain(self.drain_s)
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        return done

    def pending(self) -> int:
        """How many complete events have not been accepted by the sink."""
        return len(read_spool(self.spool_dir, self._load_offsets()))

    def ship_once(self) -> int:
        """Send everything that is complete now and return how many events; raises what the sink raises."""
        with self._sole_shipper() as mine:
            if not mine:
                return 0
            offsets = self._load_offsets()
            spooled = read_spool(self.spool_dir, offsets)
            for begin in range(0, len(spooled), BATCH_EVENTS):
                part = spooled[begin : begin + BATCH_EVENTS]
                self.sink.send([self._with_kept_copy(item.event) for item in part])
                self._heard = True
                offsets |= {item.file: item.end_offset for item in part}
                self._save_offsets(offsets)
                self._forget_copies(part)
            return len(spooled)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.ship_once()
                if self._failures and self._warned:
                    _log.warning("tracking: %s answers again; the kept events were sent", self.destination)
                self._failures, self._warned = 0, False
            except Exception as error:  # nothing that happens to the store may end training: keep, wait, try again
                self._failures += 1
                self._warn(error)
            self._wake.clear()
            self._wait(self._failures)

    def _wait(self, failures: int) -> None:
        if not failures:
            self._wake.wait(self.period_s)
            return
        delay = min(MAX_BACKOFF_S, self.period_s * 2**failures) * random.uniform(0.5, 1.5)
        deadline = time.monotonic() + delay
        began = time.monotonic()
        while not self._stop.is_set() and time.monotonic() < deadline:
            if self._draining.is_set() and time.monotonic() - began >= min(DRAIN_RETRY_S, delay):
                return
            time.sleep(0.05)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = redacted(" ".join(f"{type(error).__name__}: {error}".split())[:160])
            _log.warning("tracking: %s does not accept events now, they are kept (%s)", self.destination, reason)

    def _with_kept_copy(self, event: Event) -> Event:
        if event.kind in WITH_FILES and event.data.get("copy"):
            kept = self.spool_dir / event.data["copy"]
            if kept.exists():
                return replace(event, data={**event.data, "path": str(kept)})
        return event

    def _forget_copies(self, part: Sequence[SpooledEvent]) -> None:
        for item in part:
            if item.event.kind in WITH_FILES and item.event.data.get("copy"):
                shutil.rmtree((self.spool_dir / item.event.data["copy"]).parent, ignore_errors=True)

    @property
    def _offsets_file(self) -> Path:
        return self.spool_dir / "shipped.json"

    def _load_offsets(self) -> dict[str, int]:
        try:
            return {str(name): int(offset) for name, offset in json.loads(self._offsets_file.read_bytes()).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _save_offsets(self, offsets: dict[str, int]) -> None:
        temporary = self._offsets_file.with_name(f".shipped.json.{os.getpid()}")
        with temporary.open("w") as stream:
            json.dump(offsets, stream, indent=0, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._offsets_file)

    @contextmanager
    def _sole_shipper(self) -> Iterator[bool]:
        self.spool_dir.mkdir(parents=True, exist_ok=True)
        with (self.spool_dir / ".shipper.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
