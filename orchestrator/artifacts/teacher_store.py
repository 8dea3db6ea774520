"""The content-addressed store of teacher outputs: captions, descriptions, text and image embeddings.

A row is keyed by the digest of everything that determines it, so a rerun computes only what is missing. Layout of a
store's folder, on any file system:

    parts/     one Parquet file per commit, named RUN-MICROBATCH-CONTENT; its metadata is the commit's ledger record
    segments/  files into which compaction rewrites parts: sorted by key, each key once, named by their content
    ledger/    the records of the parts that were rewritten
    intents/   micro-batches that are with a model now, or were when their process died (see `intents.py`)

The content of a store is the union of its files, keyed by row, and the ledger is the union of its records, keyed by
commit. Compaction (see `compaction.py`) writes its output before it deletes what it read, so that at every moment, and
with any number of processes compacting and committing at once, the union is the same: no lock, nothing to recover.

Knows nothing of models or of Ray.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intents
from orchestrator.artifacts.ledger import CommitRecord, ledger_records, ledger_table, ledger_totals
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.errors import ArtifactError

KEY = "key"
SCHEMA_VERSION = 2
ERROR_CLASS, ERROR_MESSAGE, TRANSIENT, PATH = "error_class", "error_message", "transient", "path"
COMMITTED_US = "committed_us"
BOOKKEEPING = {
    COMMITTED_US: pa.int64(),
    ERROR_CLASS: pa.string(),  # null where the row has its value
    ERROR_MESSAGE: pa.string(),
    TRANSIENT: pa.bool_(),  # another attempt may succeed, so the row counts as missing
    PATH: pa.string(),  # of the image, for the reader of a refusal
}
SEGMENT_BYTES = 256 << 20  # of Parquet that one step (digest, compaction) holds in memory
_RETRIES = 20  # a listing that a concurrent compaction overtook is read again
_T = TypeVar("_T")


def row_key(**parts: object) -> str:
    """Key of one row: digest of its named parts and of the store's schema version."""
    return fingerprint({"schema": SCHEMA_VERSION, **parts})


def row_keys(context: str, *columns: Sequence[str]) -> list[str]:
    """Keys of many rows that share `context` (a `row_key`) and differ in string columns; about 1 us a row."""
    seed = hashlib.blake2b(context.encode(), digest_size=16)
    keys = []
    for values in zip(*columns, strict=True):
        state = seed.copy()
        for value in values:
            data = value.encode()
            state.update(len(data).to_bytes(8, "little"))
            state.update(data)
        keys.append(state.hexdigest())
    return keys


class TeacherStore:
    """One teacher's rows of one kind. Any number of processes may read, commit and compact at once.

    Args:
        folder: local path, URI or `Folder`; created on the first commit.
    """

    def __init__(self, folder: Folder | Path | str) -> None:
        self.folder = folder if isinstance(folder, Folder) else Folder(str(folder))
        self.part_files, self.segment_files = self.folder.child("parts"), self.folder.child("segments")
        self.ledger_files = self.folder.child("ledger")

    def intents(self, run: str) -> Intents:
        """The store's intents, as seen by `run`."""
        return Intents(self.folder.child("intents"), run)

    # --- writing -----------------------------------------------------------------------------------------------------

    def commit(self, table: pa.Table, record: CommitRecord, *, micro_batch: str = "") -> str:
        """Write one micro-batch whole; returns the part's name.

        Args:
            table: rows with the string column `key` (no key twice), value columns, and any of `BOOKKEEPING`; a row
                without an `error_class` must have its values.
            record: what it cost; its time of commit is set here.
            micro_batch: digest of the keys the micro-batch was planned with; default: of the rows' keys.
        """
        keys = table[KEY].to_pylist()
        if len(set(keys)) != len(keys):
            raise ArtifactError("a micro-batch holds a key twice", expected="one row for each key")
        now_us = time.time_ns() // 1000
        columns = {name: table[name] for name in table.column_names if name not in BOOKKEEPING}
        for name, kind in BOOKKEEPING.items():
            given = table[name].cast(kind) if name in table.column_names else pa.nulls(len(keys), kind)
            columns[name] = given
        columns[COMMITTED_US] = pa.array(np.full(len(keys), now_us), pa.int64())
        columns[TRANSIENT] = pc.fill_null(columns[TRANSIENT], False)
        rows = pa.table(columns)
        rows = rows.replace_schema_metadata(record.model_copy(update={"committed_us": now_us}).to_metadata())
        name = f"{record.run[:8] or '-'}-{micro_batch or digest_keys(keys)}-{digest_table(rows)}.parquet"
        self.part_files.write_table(name, rows)
        return name

    def commit_nothing(self, record: CommitRecord) -> None:
        """Write a record without rows into the ledger: what was lost."""
        table = ledger_table([record.model_copy(update={"committed_us": time.time_ns() // 1000})])
        self.ledger_files.write_table(f"{digest_table(table)}.parquet", table)

    def write_segment(self, rows: pa.Table) -> str:
        """Write rows (sorted, each key once) as a segment named by its content; returns the name."""
        name = f"{digest_table(rows)}.parquet"
        if name not in self.segment_files.names():
            self.segment_files.write_table(name, rows)
        self.segment_files.sync()
        return name

    # --- reading -----------------------------------------------------------------------------------------------------

    def files(self) -> list[tuple[Folder, str]]:
        """Segments, then parts.

        A compaction writes segments before it deletes parts; so the parts are listed first, and nothing is missed.
        """
        parts = [(self.part_files, name) for name in self.part_files.names()]
        return [(self.segment_files, name) for name in self.segment_files.names()] + parts

    def steadily(self, read: Callable[[], _T]) -> _T:
        """Run `read`, again from its listing when a concurrent compaction deleted a file in between."""
        last: OSError | None = None
        for _ in range(_RETRIES):
            try:
                return read()
            except FileNotFoundError:
                continue
            except OSError as error:  # of an object that is deleted while it is read, an object store says less
                if self.folder.local is not None:
                    raise
                last = error
                time.sleep(0.2)
        raise ArtifactError(
            f"{self.folder}: files vanish as often as they are listed",
            expected="at most a compaction now and then",
            remedy="see that nothing but this program deletes files there",
        ) from last

    def _columns(self, columns: list[str]) -> pa.Table:
        """Some columns of all rows of all files, segments first; a key may still occur more than once."""

        def read() -> pa.Table:
            tables = [folder.parquet(name).read(columns=columns) for folder, name in self.files()]
            plain = [table.replace_schema_metadata(None) for table in tables]
            return pa.concat_tables(plain, promote_options="default") if plain else pa.table({c: [] for c in columns})

        return self.steadily(read)

    def keys(self) -> set[str]:
        """Keys of all rows that have their value."""
        return set(self.done_keys().to_pylist())

    def done_keys(self) -> pa.ChunkedArray:
        """Keys of all rows that have their value; a key may occur more than once before compaction."""
        rows = self._columns([KEY, ERROR_CLASS])
        return pc.filter(rows[KEY], pc.is_null(rows[ERROR_CLASS])).cast(pa.string())

    def lacking(self) -> Callable[[pa.Array | pa.ChunkedArray], pa.Array]:
        """A function that tells for each key whether its row must still be computed, by what is in the store now.

        A row need not be computed when it has its value, or was refused for good.
        """
        rows = self._columns([KEY, TRANSIENT])
        settled = pc.filter(rows[KEY], pc.invert(rows[TRANSIENT])).cast(pa.string()) if len(rows) else None

        def lacks(keys: pa.Array | pa.ChunkedArray) -> pa.Array:
            if settled is None:
                return pa.array(np.ones(len(keys), bool))
            return pc.invert(pc.is_in(keys, value_set=settled))

        return lacks

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` whose rows must still be computed, in their order, each once."""
        unique = pa.array(list(dict.fromkeys(keys)), pa.string())
        return list(unique.filter(self.lacking()(unique)).to_pylist())

    def read(self, keys: Sequence[str] | pa.Array, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows with their values for `keys`, in that order; the earliest commit where a key has several.

        Raises:
            ArtifactError: a key has no row with a value.
        """
        wanted = keys if isinstance(keys, pa.Array) else pa.array(list(keys), pa.string())
        if not len(wanted):
            return pa.table({name: pa.nulls(0) for name in [KEY, *(columns or [])]})

        def read() -> pa.Table:
            found = []
            for folder, name in self.files():
                file = folder.parquet(name)
                names = file.schema_arrow.names
                chosen = None if columns is None else list(dict.fromkeys([KEY, ERROR_CLASS, *columns]))
                present = pc.is_in(file.read(columns=[KEY])[KEY], value_set=wanted)
                if not pc.any(present).as_py():
                    continue
                rows = file.read(columns=chosen if chosen is not None else names).filter(present)
                found.append(rows.filter(pc.is_null(rows[ERROR_CLASS])).replace_schema_metadata(None))
            if not found:
                return pa.table({KEY: pa.array([], pa.string())})
            return pa.concat_tables(found, promote_options="default")

        rows = self.steadily(read).combine_chunks()
        position = pc.index_in(wanted, value_set=rows[KEY].combine_chunks().cast(pa.string()))
        if position.null_count:
            absent = pc.filter(wanted, pc.is_null(position))
            raise ArtifactError(
                f"{self.folder} lacks {len(absent)} of {len(wanted)} rows, first {absent[0].as_py()}",
                expected="every row committed before it is read",
                remedy="run the same command again; only what is missing is computed",
            )
        kept = rows.select([KEY, *columns]) if columns is not None else rows
        return kept.take(position)

    def refused(self, keys: Sequence[str] | pa.Array | None = None) -> pa.Table:
        """Rows refused and not made since (key, error_class, error_message, transient, path), each key once."""
        names = [KEY, ERROR_CLASS, ERROR_MESSAGE, TRANSIENT, PATH, COMMITTED_US]
        rows = self._columns(names)
        done = pc.filter(rows[KEY], pc.is_null(rows[ERROR_CLASS])).cast(pa.string())
        bad = rows.filter(pc.is_valid(rows[ERROR_CLASS]))
        bad = bad.filter(pc.invert(pc.is_in(bad[KEY].cast(pa.string()), value_set=done)))
        if keys is not None:
            wanted = keys if isinstance(keys, pa.Array) else pa.array(list(keys), pa.string())
            bad = bad.filter(pc.is_in(bad[KEY].cast(pa.string()), value_set=wanted))
        return one_row_per_key(bad).select(names[:-1])

    def ledger(self) -> pa.Table:
        """Every commit's record (LEDGER_SCHEMA), in the order of the commits."""

        def read() -> list[CommitRecord]:
            records = []
            for name in self.part_files.names():
                record = CommitRecord.from_metadata(self.part_files.parquet(name).schema_arrow.metadata)
                records += [record] if record else []
            for name in self.ledger_files.names():
                records += ledger_records(self.ledger_files.parquet(name).read())
            return records

        return ledger_table(self.steadily(read))

    def totals(self) -> dict[str, float]:
        """What the store has cost: the ledger's sums."""
        return ledger_totals(self.ledger())

    def num_parts(self) -> int:
        """Part files that compaction has not rewritten yet."""
        return len(self.part_files.names())

    def num_bytes(self) -> int:
        """Bytes of all files."""

        def read() -> int:
            files = [*self.files(), *((self.ledger_files, name) for name in self.ledger_files.names())]
            return sum(folder.size(name) for folder, name in files)

        return self.steadily(read)

    def rows(self, prefix: str = "") -> pa.Table:
        """All rows whose key begins with `prefix` (hexadecimal digits), sorted, each key once."""

        def read() -> pa.Table:
            found = []
            for folder, name in self.files():
                rows = folder.parquet(name).read()
                chosen = rows.filter(pc.starts_with(rows[KEY], prefix)) if prefix else rows
                found.append(chosen.replace_schema_metadata(None))
            return pa.concat_tables(found, promote_options="default") if found else pa.table({KEY: pa.array([], "str")})

        rows = self.steadily(read)
        return one_row_per_key(rows) if rows.num_rows else rows

    def digest(self) -> str:
        """Digest of the content: keys and values in key order, whatever files they are in and when they were made.

        Refusals that another attempt may lift are left out; of the others the class counts, not the message.
        """
        state = hashlib.blake2b(digest_size=16)
        for prefix in key_prefixes(self.num_bytes()):
            rows = self.rows(prefix)
            if rows.num_rows:
                rows = rows.filter(pc.invert(rows[TRANSIENT]))
                drop = [name for name in (COMMITTED_US, ERROR_MESSAGE, PATH, TRANSIENT) if name in rows.column_names]
                state.update(digest_table(rows.drop_columns(drop)).encode())
        return state.hexdigest()


def key_prefixes(num_bytes: int) -> list[str]:
    """Key prefixes that cut rows of this size into pieces that fit in memory."""
    digits = 0
    while num_bytes / 16**digits > SEGMENT_BYTES:
        digits += 1
    return [f"{number:0{digits}x}" if digits else "" for number in range(16**digits)]


def digest_keys(keys: Sequence[str]) -> str:
    """Digest of a set of keys."""
    return fingerprint(sorted(keys))[:16]


def one_row_per_key(rows: pa.Table) -> pa.Table:
    """Rows sorted by key, each key once: one with its value before a refusal, a final refusal before a transient one,
    the earliest commit first."""
    if not rows.num_rows:
        return rows
    order = pa.table(
        {
            KEY: rows[KEY],
            "refused": pc.add(
                pc.cast(pc.is_valid(rows[ERROR_CLASS]), pa.int8()),
                pc.cast(pc.fill_null(rows[TRANSIENT], False), pa.int8()) if TRANSIENT in rows.column_names else 0,
            ),
            COMMITTED_US: rows[COMMITTED_US],
        }
    )
    indices = pc.sort_indices(order, sort_keys=[(name, "ascending") for name in order.column_names])
    keys = order[KEY].take(indices).combine_chunks()
    keys = pa.concat_arrays(keys.chunks) if isinstance(keys, pa.ChunkedArray) else keys
    first = np.ones(len(keys), bool)
    first[1:] = np.asarray(pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1)))
    return rows.take(indices.filter(pa.array(first))).combine_chunks()
