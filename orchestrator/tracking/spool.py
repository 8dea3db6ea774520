"""Events on local disk: every process appends JSON lines to a file of its own.

Writes `SPOOL/HOST-PID-UUID.jsonl` and, for small artifacts, copies under `SPOOL/artifacts/`; the reader half reads
them. A line is one write, so that a killed process leaves at most one torn last line, which the reader leaves alone.
Knows nothing of MLflow and never raises into training.
"""

import heapq
import logging
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.secrecy import redacted_tree
from orchestrator.tracking.events import WITH_FILES, Event, EventKind, RunStatus, flat_scalars
from orchestrator.tracking.tracker import TrackedDataset

COPY_BELOW_BYTES = 50 * 1024 * 1024  # artifacts smaller than this are copied, so that they cannot vanish before sending
ARTIFACT_FOLDER = "artifacts"
_log = logging.getLogger(__name__)


class SpoolTracker:
    """A tracker for any process on any number of machines that share `spool_dir`; costs one small write per call.

    Can be pickled: each process that uses it writes a file of its own.
    """

    def __init__(self, spool_dir: Path) -> None:
        self.spool_dir = Path(spool_dir).resolve()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._pid = -1
        self._last_us = 0
        self._complained = False

    def __getstate__(self) -> dict[str, Any]:
        return {"spool_dir": self.spool_dir}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.spool_dir = state["spool_dir"]
        self._reset()

    def start_run(
        self,
        run_key: str,
        *,
        name: str,
        parent_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record the beginning, or the resumption, of a run."""
        texts = {key: str(value) for key, value in (tags or {}).items()}
        data = {"name": name, "parent": parent_key, "params": flat_scalars(params or {}), "tags": texts}
        self._append("start", run_key, data)

    def log_metrics(self, run_key: str, metrics: Mapping[str, float], step: int) -> None:
        """Record values at one step."""
        values = {name: float(value) for name, value in metrics.items()}
        self._append("metrics", run_key, {"step": int(step), "metrics": values})

    def set_tags(self, run_key: str, tags: Mapping[str, str]) -> None:
        """Record tags of a run that was begun."""
        self._append("tags", run_key, {"tags": {name: str(value) for name, value in tags.items()}})

    def log_dataset(self, run_key: str, dataset: TrackedDataset) -> None:
        """Record what data a run reads."""
        self._append("dataset", run_key, asdict(dataset))

    def log_artifact(self, run_key: str, path: Path, folder: str = "") -> None:
        """Record a file or folder; a copy of at most `COPY_BELOW_BYTES` is kept in the spool until it was sent."""
        source = Path(path).resolve()
        copy = self._keep_copy(source)
        self._append("artifact", run_key, {"path": str(source), "folder": folder, "copy": copy})

    def log_model(self, run_key: str, folder: Path, *, name: str, alias: str, export: str) -> None:
        """Record an export to be registered; as with artifacts, a small one is copied until it was sent."""
        source = Path(folder).resolve()
        data = {"path": str(source), "name": name, "alias": alias, "export": export, "copy": self._keep_copy(source)}
        self._append("model", run_key, data)

    def end_run(self, run_key: str, status: RunStatus, stop_reason: str = "") -> None:
        """Record the terminal status."""
        self._append("end", run_key, {"status": status, "stop_reason": stop_reason})

    def end_stale(self, run_key: str, reason: str) -> None:
        """Record that whoever left runs below `run_key` open is gone; only for the one command that knows it."""
        self._append("stale", run_key, {"reason": reason})

    def _keep_copy(self, source: Path) -> str | None:
        relative = f"{ARTIFACT_FOLDER}/{uuid.uuid4().hex}/{source.name}"
        target = self.spool_dir / relative
        try:
            files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
            if not files or sum(file.stat().st_size for file in files) >= COPY_BELOW_BYTES:
                return None
            target.parent.mkdir(parents=True)
            if source.is_file():
                shutil.copy2(source, target)
            else:
                shutil.copytree(source, target)
        except OSError as error:
            self._complain(error)
            return None
        return relative

    def _append(self, kind: EventKind, run_key: str, data: Mapping[str, Any]) -> None:
        with self._lock:
            self._last_us = max(self._last_us, time.time_ns() // 1000)  # never backwards within a file
            told = data if kind in WITH_FILES else redacted_tree(data)  # a path must stay one
            line = Event(kind, run_key, self._last_us, told).to_line()
            try:
                if self._fd is None or self._pid != os.getpid():  # first event, or the child of a fork
                    self._open()
                assert self._fd is not None
                written = os.write(self._fd, line)
                if written != len(line):  # disk full: end the torn line, so that only this event is lost
                    os.write(self._fd, b"\n")
                    raise OSError(f"only {written} of {len(line)} bytes written")
            except OSError as error:
                self._complain(error)

    def _open(self) -> None:
        self.spool_dir.mkdir(parents=True, exist_ok=True)
        host = re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())
        path = self.spool_dir / f"{host}-{os.getpid()}-{uuid.uuid4().hex}.jsonl"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._pid = os.getpid()

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("tracking: cannot write to %s (%s); training goes on without it", self.spool_dir, error)

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None and self._pid == os.getpid():
            os.close(self._fd)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SpooledEvent:
    """An event, the name of the spool file that holds it, and the offset in bytes just behind it."""

    event: Event
    file: str
    end_offset: int


def read_spool(spool_dir: Path, offsets: Mapping[str, int]) -> list[SpooledEvent]:
    """Every complete event behind `offsets` (file name -> bytes), by time, in each file's own order.

    A torn last line stays unread; a damaged line in the middle is skipped.
    """
    files = sorted(Path(spool_dir).glob("*.jsonl"))
    streams = [list(_read_file(file, offsets.get(file.name, 0))) for file in files]
    return list(heapq.merge(*streams, key=lambda spooled: spooled.event.time_us))


def _read_file(file: Path, offset: int) -> Iterator[SpooledEvent]:
    try:
        if file.stat().st_size <= offset:
            return
        with file.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
    except FileNotFoundError:
        return
    for line in content.split(b"\n")[:-1]:  # what follows the last newline is torn or not finished yet
        offset += len(line) + 1
        try:
            event = Event.from_line(line)
        except ValueError:
            _log.info("tracking: skipped a damaged line of %s", file.name)
            continue
        yield SpooledEvent(event, file.name, offset)
