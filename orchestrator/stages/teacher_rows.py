"""Making the rows a teacher store lacks: find them, plan micro-batches, let the engine pay for them, account for all.

Reads and writes teacher stores through the engine; writes its plan beside the artifact while it runs. Knows nothing of
what the rows hold.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from orchestrator.artifacts.compaction import MAX_PARTS, compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.teacher_store import KEY, TeacherStore
from orchestrator.config.execution import ActorPoolSettings
from orchestrator.datasets.index import content_hash, decode_rgb, read_image_bytes
from orchestrator.errors import ArtifactError, DataError
from orchestrator.executors.micro_batches import MicroBatchWriter
from orchestrator.executors.pay_once import Row
from orchestrator.executors.protocol import PLACEMENT, TableWorker
from orchestrator.stages.context import Context

PLAN = "plan.arrow"
_COMPACT_EVERY = 64  # receipts between two looks at the number of parts
_MIN_ROWS_FOR_EARLY_STOP = 200
ADDRESS = {"path": pa.string(), "offset": pa.int64(), "size": pa.int64(), "content_hash": pa.string()}


def open_store(context: Context, kind: str, name: str) -> TeacherStore:
    """The store of one teacher's rows of one kind."""
    root = context.execution.store_root
    return TeacherStore(Folder(root or str(context.root / "store")).child(kind).child(name))


@dataclass(frozen=True)
class Job:
    """Some rows to be made.

    Attributes:
        stage, unit: for messages.
        chunks: yields the wanted rows, each time anew, in their order: tables with the column `key`.
        to_items: missing rows of a chunk -> items (columns of `schema`, with `keys`, a list of strings).
        open_worker: (run, names of the store's files now) -> the worker.
    """

    stage: str
    unit: str
    store: TeacherStore
    chunks: Callable[[], Iterable[pa.Table]]
    to_items: Callable[[pa.Table], pa.Table]
    schema: pa.Schema
    open_worker: Callable[[str, tuple[str, ...]], TableWorker]
    pool: ActorPoolSettings


@dataclass
class Account:
    """What became of the rows of a job; `asked` is the sum of the other four."""

    asked: int = 0
    done: int = 0
    quarantined: int = 0
    skipped: int = 0

    @property
    def reused(self) -> int:
        """Rows that were there, or that equal another row of the same job."""
        return self.asked - self.done - self.quarantined - self.skipped

    def counts(self) -> dict[str, int]:
        """For manifests and messages."""
        return {
            "asked": self.asked, "done": self.done, "reused": self.reused, "quarantined": self.quarantined,
            "skipped": self.skipped,
        }  # fmt: skip


def make_rows(context: Context, job: Job, folder: Path) -> tuple[Account, set[str]]:
    """Make the rows of a job that its store lacks; returns the account and the keys that were refused.

    Raises:
        ArtifactError: more rows than `pool.max_error_fraction` have no result; what was made stays in the store.
    """
    plan = folder / PLAN
    known = tuple(name for _, name in job.store.files())
    account = Account()
    try:
        planned_rows = _write_plan(job, plan, account)
        done = skipped = 0
        if planned_rows:
            done, skipped = _run(context, job, plan, planned_rows, known, account.asked)
            compact(job.store)
    finally:
        plan.unlink(missing_ok=True)
    refused = set(job.store.refused()[KEY].to_pylist())
    account.done, account.skipped = done, skipped
    if refused:
        wanted = pa.array(sorted(refused), pa.string())
        account.quarantined = sum(pc.sum(pc.is_in(chunk[KEY], value_set=wanted)).as_py() or 0 for chunk in job.chunks())
    failed = account.quarantined + account.skipped
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


def _write_plan(job: Job, path: Path, account: Account) -> int:
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


def _run(context: Context, job: Job, plan: Path, planned: int, known: tuple[str, ...], asked: int) -> tuple[int, int]:
    """Let the engine make the planned rows; returns how many were made, and how many were not tried."""
    run = uuid.uuid4().hex
    worker = job.open_worker(run, known)
    many = f" with {job.pool.num_actors} actors" if context.execution.engine != "in_process" else ""
    context.feedback.event(job.stage, f"{planned:,} {job.unit} to make{many}")
    done = refused = tried = receipts = 0
    placed: Counter[str] = Counter()
    allowed = max(_MIN_ROWS_FOR_EARLY_STOP, job.pool.max_error_fraction * asked)
    with context.feedback.bar(job.stage, planned, job.unit) as advance:

        def on_receipt(receipt: pa.Table) -> None:
            nonlocal done, refused, tried, receipts
            if PLACEMENT in receipt.column_names:
                placed.update(receipt[PLACEMENT].to_pylist())
            made, bad, there = (pc.sum(receipt[name]).as_py() for name in ("done", "refused", "reused"))
            done, refused, tried = done + made, refused + bad, tried + made + bad + there
            receipts += 1
            advance(tried, f"{refused:,} quarantined" if refused else "")
            if refused > allowed:
                raise _HopelessError
            if receipts % _COMPACT_EVERY == 0 and job.store.num_parts() > MAX_PARTS:
                compact(job.store)

        def on_stall(reason: str) -> None:
            waiting = [intent for intent in job.store.intents(run).all() if intent.run == run]
            held = ", ".join(f"{i.num_rows} rows with process {i.pid} of {i.host}" for i in waiting[:3])
            held = f"; at the model: {held} (time-out {job.pool.timeout_s:g} s)" if held else ""
            context.feedback.event(job.stage, f"waiting: {reason}{held}")

        try:
            context.executor.map_table(plan, worker, job.pool, on_receipt, on_stall)
        except _HopelessError:
            context.feedback.event(job.stage, f"stopped after {refused:,} failures; the rest is not paid for")
    for place, micro_batches in sorted(placed.items()):
        context.feedback.event(job.stage, f"{micro_batches} micro-batches on {place}")
    return done, planned - tried


# --- images -----------------------------------------------------------------------------------------------------------


def fetch_images(rows: pa.Table) -> pa.Table:
    """Add the images' compressed bytes as `data`; null where they cannot be read."""

    def read(path: str, offset: int, size: int) -> bytes | None:
        try:
            return read_image_bytes(path, offset, size)
        except (OSError, ValueError):
            return None  # read once more where the error can be told

    addresses = zip(*(rows[name].to_pylist() for name in ("path", "offset", "size")), strict=True)
    return rows.append_column("data", pa.array([read(*address) for address in addresses], pa.large_binary()))


class ChangedImageError(OSError):
    """The bytes at an image's address are no longer those that were indexed (they may be again)."""


def image_of(row: Row) -> Image.Image:
    """The decoded image of a fetched row.

    Raises:
        OSError: it cannot be read, or is no longer the one that was indexed.
        DataError: it cannot be decoded.
    """
    data = row["data"]
    if data is None:
        try:
            data = read_image_bytes(row["path"], row["offset"], row["size"])
        except DataError as error:
            raise ChangedImageError(error.wrong) from error
    if content_hash(data) != row["content_hash"]:
        raise ChangedImageError("the image has changed since the index was made; make the index again")
    return decode_rgb(data)


def by_image(columns: Sequence[str]) -> Callable[[pa.Table], pa.Table]:
    """Rows -> items: consecutive rows of one image become one item; `columns` and the keys become lists."""

    def to_items(rows: pa.Table) -> pa.Table:
        hashes = rows["content_hash"].to_pylist()
        starts = [n for n in range(len(hashes)) if n == 0 or hashes[n] != hashes[n - 1]]
        offsets = pa.array([*starts, len(hashes)], pa.int32())
        first = rows.take(pa.array(starts, pa.int64()))
        lists = {name: pa.ListArray.from_arrays(offsets, _flat(rows[name])) for name in columns}
        keys = pa.ListArray.from_arrays(offsets, _flat(rows[KEY]))
        return pa.table({**{name: first[name] for name in ADDRESS}, "keys": keys, **lists})

    return to_items


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)


def chunked(table: pa.Table, num_rows: int) -> Iterator[pa.Table]:
    """A table in pieces."""
    return (table.slice(start, num_rows) for start in range(0, table.num_rows, num_rows))
