"""Making the rows a teacher store lacks: find them, plan micro-batches, let the engine pay for them, account for all.

Reads and writes teacher stores through the engine; writes its plan beside the artifact while it runs. Knows nothing of
what the rows hold.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.compaction import MAX_PARTS, compact
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.intents import this_machine
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.artifacts.teacher_store import KEY, TRANSIENT, TeacherStore
from orchestrator.config.execution import ActorPoolSettings
from orchestrator.errors import ArtifactError, OrchestratorError
from orchestrator.executors.micro_batches import MicroBatchWriter
from orchestrator.executors.protocol import PLACEMENT
from orchestrator.stages.context import TO_TRY_AGAIN, Context
from orchestrator.stages.paying_worker import PayingWorker

PREDICTIONS = "predictions.json"
_COMPACT_EVERY = 64  # receipts between two looks at the number of parts
_MIN_ROWS_FOR_EARLY_STOP = 200


def open_store(context: Context, kind: str, name: str) -> TeacherStore:
    """The store of one teacher's rows of one kind."""
    return TeacherStore(context.execution.stores.child(kind).child(name).uri)


@dataclass(frozen=True)
class Job:
    """Some rows to be made.

    Attributes:
        stage, unit: for messages.
        chunks: yields the wanted rows, each time anew, in their order: tables with the column `key`.
        to_items: missing rows of a chunk -> items (columns of `schema`, with `keys`, a list of strings).
        worker: what actors open; run and known files are filled in when the work is planned.
    """

    stage: str
    unit: str
    store: TeacherStore
    chunks: Callable[[], Iterable[pa.Table]]
    to_items: Callable[[pa.Table], pa.Table]
    schema: pa.Schema
    worker: PayingWorker
    pool: ActorPoolSettings


@dataclass
class Account:
    """What became of the rows of a job; `asked` is the sum of the other four."""

    asked: int = 0
    done: int = 0
    quarantined: int = 0
    skipped: int = 0
    to_try_again: int = 0  # of the quarantined, those that another attempt may make

    @property
    def reused(self) -> int:
        """Rows that were there, or that equal another row of the same job."""
        return self.asked - self.done - self.quarantined - self.skipped

    def counts(self) -> dict[str, int]:
        """For manifests and messages."""
        told = {
            "asked": self.asked, "done": self.done, "reused": self.reused, "quarantined": self.quarantined,
            "skipped": self.skipped,
        }  # fmt: skip
        return {**told, TO_TRY_AGAIN: self.to_try_again} if self.to_try_again else told


def make_rows(context: Context, job: Job, folder: Path) -> tuple[Account, set[str]]:
    """Make the rows of a job that its store lacks; returns the account and the keys that were refused.

    Raises:
        ArtifactError: more rows than `pool.max_error_fraction` have no result; what was made stays in the store.
    """
    plan = plan_path(folder)
    known = tuple(name for _, name in job.store.files())
    account = Account()
    try:
        planned_rows = write_plan(job, plan, account)
        done = skipped = 0
        seconds = 0.0
        if planned_rows:
            ran = run_plan(context, job, plan, planned_rows, known, account.asked)
            done, skipped, seconds = ran.done, planned_rows - ran.tried, ran.seconds
        if job.store.num_parts():  # those of this run, or of one that was killed before it came to this
            compact(job.store)
    finally:
        plan.unlink(missing_ok=True)
    rows = job.store.refused()
    refused = set(rows[KEY].to_pylist())
    account.done, account.skipped = done, skipped
    if refused:
        account.quarantined = _count(job, rows[KEY])
        account.to_try_again = _count(job, pc.filter(rows[KEY], rows[TRANSIENT]))
    failed = account.quarantined + account.skipped
    _compare_with_prediction(context, job, account, seconds)
    if failed > job.pool.max_error_fraction * account.asked:
        told = ", ".join(f"{value:,} {name}" for name, value in account.counts().items())
        context.feedback.event(job.stage, f"{job.unit}: {told}")
        raise ArtifactError(
            f"{failed:,} of {account.asked:,} {job.unit} have no result: {_reasons(job.store, refused)}",
            expected=f"at most {job.pool.max_error_fraction:.1%} (max_error_fraction of the actors' pool)",
            remedy=f"see them with `orchestrator store ls {job.store.folder} --refused`; mend the images, or raise "
            "max_error_fraction; what was made stays in the store",
        )
    return account, refused


def _count(job: Job, keys: pa.ChunkedArray) -> int:
    """Rows of a job that have one of `keys`."""
    wanted = pc.cast(keys, pa.string())
    return (
        sum(pc.sum(pc.is_in(chunk[KEY], value_set=wanted)).as_py() or 0 for chunk in job.chunks()) if len(wanted) else 0
    )


def _reasons(store: TeacherStore, refused: set[str]) -> str:
    rows = store.refused(sorted(refused))
    classes = Counter(rows["error_class"].to_pylist()).most_common(3)
    first = rows["error_message"][0].as_py() if rows.num_rows else "none was tried"
    return ", ".join(f"{count:,} {name}" for name, count in classes) + f"; the first: {first}"


class _SeenKeys:
    """Which keys have occurred: 16 bytes for each, in a few sorted arrays."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[np.bytes_]] = []

    def first(self, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether each of `keys` occurs for the first time; they have then all occurred."""
        found = np.frombuffer(bytes.fromhex("".join(keys)), "S16") if keys else np.array([], "S16")
        unique, positions = np.unique(found, return_index=True)
        fresh = np.ones(len(unique), bool)
        for array in self._arrays:
            place = np.minimum(np.searchsorted(array, unique), len(array) - 1)
            fresh &= array[place] != unique
        if fresh.any():
            self._arrays.append(unique[fresh])
        if len(self._arrays) > 8:
            self._arrays = [np.sort(np.concatenate(self._arrays))]
        mask = np.zeros(len(keys), bool)
        mask[positions[fresh]] = True
        return mask


def plan_path(folder: Path) -> Path:
    """Where a plan goes that no other process writes; those that killed processes of this machine left are removed."""
    here = f".plan-{fingerprint(this_machine())[:12]}"
    for path in folder.glob(f"{here}-*.arrow"):
        if not psutil.pid_exists(int(path.name.split("-")[2])):
            path.unlink(missing_ok=True)
    return folder / f"{here}-{os.getpid()}-{uuid.uuid4().hex[:8]}.arrow"


def write_plan(job: Job, path: Path, account: Account) -> int:
    """Write the micro-batches of the missing rows; returns how many rows they have."""
    lacks = job.store.lacking()
    seen, planned = _SeenKeys(), 0
    with MicroBatchWriter(path, job.schema, job.pool.batch_size) as writer:
        for chunk in job.chunks():
            account.asked += chunk.num_rows
            missing = chunk.filter(lacks(chunk[KEY]))
            if missing.num_rows:
                missing = missing.filter(pa.array(seen.first(missing[KEY].to_pylist())))
                planned += missing.num_rows
                writer.add(job.to_items(missing))
    return planned


class _HopelessError(Exception):
    """So many rows have failed that the command must fail: the rest is not paid for."""


@dataclass
class Ran:
    """What came back from the engine.

    Attributes:
        tried: rows that were done, refused, or found to be there.
        seconds: from the moment the engine was ready to the last receipt.
        receipts: for each micro-batch: (seconds after the start, seconds it took, where).
    """

    done: int = 0
    refused: int = 0
    tried: int = 0
    seconds: float = 0.0
    receipts: list[tuple[float, float, str]] = field(default_factory=list)


def run_plan(context: Context, job: Job, plan: Path, planned: int, known: tuple[str, ...], asked: int) -> Ran:
    """Let the engine make the planned rows."""
    run = uuid.uuid4().hex
    worker = job.worker.model_copy(update={"run": run, "known": known})
    executor = context.executor
    many = f" with {job.pool.num_actors} actors" if context.execution.engine != "in_process" else ""
    context.feedback.event(job.stage, f"{planned:,} {job.unit} to make{many}")
    ran = Ran()
    allowed = max(_MIN_ROWS_FOR_EARLY_STOP, job.pool.max_error_fraction * asked)
    started = time.monotonic()
    with context.feedback.bar(job.stage, planned, job.unit) as advance:

        def on_receipt(receipt: pa.Table) -> None:
            made, bad, there = (pc.sum(receipt[name]).as_py() for name in ("done", "refused", "reused"))
            ran.done, ran.refused, ran.tried = ran.done + made, ran.refused + bad, ran.tried + made + bad + there
            places = receipt[PLACEMENT].to_pylist() if PLACEMENT in receipt.column_names else [""] * receipt.num_rows
            now = time.monotonic() - started
            took = receipt["seconds"].to_pylist()
            ran.receipts += [(now, seconds, place) for seconds, place in zip(took, places, strict=True)]
            advance(ran.tried, f"{ran.refused:,} quarantined" if ran.refused else "")
            if ran.refused > allowed:
                raise _HopelessError
            if len(ran.receipts) % _COMPACT_EVERY == 0:
                try:
                    if job.store.num_parts() > MAX_PARTS:
                        compact(job.store)
                except (OrchestratorError, OSError) as error:  # no reason to end what is at the models
                    context.feedback.event(job.stage, f"not compacted, which is tried again: {error}")

        def on_stall(reason: str) -> None:
            waiting = [intent for intent in job.store.intents(run).all() if intent.run == run]
            held = ", ".join(f"{i.num_rows} rows with process {i.pid} of {i.host}" for i in waiting[:3])
            held = f"; at the model: {held} (time-out {job.pool.timeout_s:g} s)" if held else ""
            context.feedback.event(job.stage, f"waiting: {reason}{held}")

        try:
            executor.map_table(plan, worker, job.pool, on_receipt, on_stall)
        except _HopelessError:
            context.feedback.event(job.stage, f"stopped after {ran.refused:,} failures; the rest is not paid for")
    ran.seconds = time.monotonic() - started
    for place, micro_batches in sorted(Counter(place for _, _, place in ran.receipts if place).items()):
        context.feedback.event(job.stage, f"{micro_batches} micro-batches on {place}")
    return ran


def predictions_path(context: Context) -> Path:
    """Where `orchestrator plan` leaves what it predicts, by unit."""
    return context.folder / PREDICTIONS


def _compare_with_prediction(context: Context, job: Job, account: Account, seconds: float) -> None:
    """Tell predicted and actual once, when the rows that a plan has predicted were made."""
    path = predictions_path(context)
    if not path.is_file() or not account.done:
        return
    predictions = read_json(path)
    predicted = predictions.get(job.unit)
    if predicted is None or "actual_s" in predicted:
        return
    if predicted["is_exact"] and predicted["rows"] != account.done + account.quarantined:
        return
    predicted["actual_s"] = round(seconds, 2)
    write_json(path, predictions)
    off = predicted["seconds"] / seconds - 1
    told = f"predicted {predicted['seconds']:.0f} s, took {seconds:.0f} s ({off:+.0%})"
    context.feedback.event(job.stage, f"{job.unit}: {told}")


def chunked(table: pa.Table, num_rows: int) -> Iterator[pa.Table]:
    """A table in pieces."""
    return (table.slice(start, num_rows) for start in range(0, table.num_rows, num_rows))
