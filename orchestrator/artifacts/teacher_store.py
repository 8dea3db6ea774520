"""The content-addressed store of teacher outputs: captions, descriptions, text and image embeddings.

A row is keyed by the digest of everything that determines it, so a rerun computes only what is missing. Layout of a
store's folder, on any file system:

    parts/     one Parquet file per commit, named RUN-MICROBATCH-CONTENT; its metadata is the commit's ledger record
    segments/  files into which compaction rewrites parts: sorted by key, each key once, named CHANCE-CONTENT
    ledger/    the records of the parts that were rewritten, and of what was lost
    intents/   micro-batches that are with a model now, or were when their process died (see `intents.py`)

The content of a store is the union of its files, keyed by row, and the ledger is the union of its records, keyed by
commit. Compaction (see `compaction.py`) writes its output before it deletes what it read, so that at every moment, and
with any number of processes compacting and committing at once, the union is the same: no lock, nothing to recover. No
name is ever used twice, so that nobody deletes a file that another process has just made again.

Knows nothing of models or of Ray.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.key_set import KeySet, Words, of_several_commits, pack_keys
from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.store_files import SUFFIX, StoreFiles, read_range, short_run
from orchestrator.artifacts.store_rows import (
    BOOKKEEPING,
    COMMITTED_US,
    ERROR_CLASS,
    ERROR_MESSAGE,
    KEY,
    PATH,
    TRANSIENT,
    KeyRange,
    digest_keys,
    key_ranges,
    one_row_per_key,
    row_key,
    row_keys,
)
from orchestrator.artifacts.table_digest import TableDigest, digest_table
from orchestrator.errors import ArtifactError

__all__ = [
    "BOOKKEEPING",
    "COMMITTED_US",
    "ERROR_CLASS",
    "ERROR_MESSAGE",
    "KEY",
    "PATH",
    "TRANSIENT",
    "TeacherStore",
    "digest_keys",
    "row_key",
    "row_keys",
]


_PAUSES_S = (1.0, 3.0, 9.0)  # between tries at a commit


class TeacherStore(StoreFiles):
    """One teacher's rows of one kind. Any number of processes may read, commit and compact at once.

    Args:
        folder: local path, URI or `Folder`; created on the first commit.
    """

    # --- writing -----------------------------------------------------------------------------------------------------

    def commit(self, table: pa.Table, record: CommitRecord, *, micro_batch: str = "") -> str:
        """Write one micro-batch whole; returns the part's name.

        Args:
            table: rows with the string column `key` (no key twice), value columns, and any of `BOOKKEEPING`; a row
                without an `error_class` must have its values. Vectors are kept as lists.
            record: what it cost; its time of commit is set here.
            micro_batch: digest of the keys the micro-batch was planned with; default: of the rows' keys.
        """
        keys = table[KEY].to_pylist()
        if None in keys or len(set(keys)) != len(keys):
            raise ArtifactError("a micro-batch holds a key twice, or none", expected="one row for each key")
        now_us = time.time_ns() // 1000
        columns = {name: _storable(table[name]) for name in table.column_names if name not in BOOKKEEPING}
        for name, kind in BOOKKEEPING.items():
            given = table[name].cast(kind) if name in table.column_names else pa.nulls(len(keys), kind)
            columns[name] = given
        columns[COMMITTED_US] = pa.array(np.full(len(keys), now_us), pa.int64())
        columns[TRANSIENT] = pc.fill_null(columns[TRANSIENT], False)
        rows = pa.table(columns)
        rows = rows.replace_schema_metadata(record.model_copy(update={"committed_us": now_us}).to_metadata())
        name = f"{short_run(record.run)}-{micro_batch or digest_keys(keys)}-{digest_table(rows)}{SUFFIX}"
        for pause_s in (*_PAUSES_S, None):
            try:
                self.part_files.write_table(name, rows)
                self.part_files.sync()
                return name
            except (OSError, ArtifactError):  # it was paid for; the same name again is the same part
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    # --- reading -----------------------------------------------------------------------------------------------------

    def _columns(self, columns: list[str]) -> pa.Table:
        """Some columns of all rows of all files, segments first; a key may still occur more than once."""
        tables = self.of_each(lambda file: file.read(columns=columns).replace_schema_metadata(None))
        return pa.concat_tables([self._no_rows(columns), *tables], promote_options="default")

    def keys(self) -> set[str]:
        """Keys of all rows that have their value."""
        return set(self.done_keys().to_pylist())

    def done_keys(self) -> pa.ChunkedArray:
        """Keys of all rows that have their value; a key may occur more than once before compaction."""
        rows = self._columns([KEY, ERROR_CLASS])
        return pc.filter(rows[KEY], pc.is_null(rows[ERROR_CLASS]))

    def paid_twice(self) -> dict[str, int]:
        """Keys with values of several commits, and the time (microseconds) of the commit that counts: the first."""
        rows = self._columns([KEY, ERROR_CLASS, COMMITTED_US])
        rows = rows.filter(pc.is_null(rows[ERROR_CLASS]))
        places = of_several_commits(pack_keys(rows[KEY]), np.asarray(rows[COMMITTED_US]))
        found: dict[str, int] = {}
        several = rows.take(pa.array(np.concatenate(places)))
        for key, when in zip(several[KEY].to_pylist(), several[COMMITTED_US].to_pylist(), strict=True):
            found[key] = min(when, found.get(key, when))
        return found

    def lacking(self) -> Callable[[pa.Array | pa.ChunkedArray], pa.Array]:
        """A function that tells for each key whether its row must still be computed, by what is in the store now.

        A row need not be computed when it has its value, or was refused for good. It may be called often: what is
        there is sorted once.
        """

        def read(file: pq.ParquetFile) -> Words:
            rows = file.read(columns=[KEY, TRANSIENT])
            return pack_keys(pc.filter(rows[KEY], pc.invert(rows[TRANSIENT])))

        settled = KeySet(np.concatenate([np.empty((0, 2), np.uint64), *self.of_each(read)]))
        return lambda keys: pa.array(~settled.has(keys))

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` whose rows must still be computed, in their order, each once."""
        unique = pa.array(list(dict.fromkeys(keys)), pa.string())
        return list(unique.filter(self.lacking()(unique)).to_pylist())

    def read(self, keys: Sequence[str] | pa.Array | pa.ChunkedArray, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows with their values for `keys`, in that order; the earliest commit where a key has several.

        Each call looks through all keys of the store: ask for many at once.

        Raises:
            ArtifactError: a key has no row with a value.
        """
        wanted = _one_array(keys)
        if not len(wanted):
            return pa.table({name: pa.nulls(0) for name in dict.fromkeys([KEY, *(columns or [])])})
        needed = None if columns is None else list(dict.fromkeys([KEY, *BOOKKEEPING, *columns]))
        wanted_set = KeySet(wanted)  # Arrow's own sets are built anew for each file: good for few large ones

        def read(file: pq.ParquetFile) -> pa.Table | None:
            there = file.read(columns=[KEY])[KEY]
            many = len(there) > len(wanted)
            present = pc.is_in(there, value_set=wanted) if many else pa.array(wanted_set.has(there))
            if not pc.any(present).as_py():
                return None
            rows = file.read(columns=needed).filter(present)
            return rows.filter(pc.is_null(rows[ERROR_CLASS])).replace_schema_metadata(None)

        found = [rows for rows in self.of_each(read) if rows is not None]
        rows = pa.concat_tables(found, promote_options="default") if found else pa.table({KEY: pa.array([], "str")})
        present = _one_array(rows[KEY])
        if len(pc.unique(present)) < len(present):
            rows = one_row_per_key(rows)
            present = _one_array(rows[KEY])
        position = pc.index_in(wanted, value_set=present)
        if position.null_count:
            absent = pc.filter(wanted, pc.is_null(position))
            raise ArtifactError(
                f"{self.folder} lacks {len(absent)} of {len(wanted)} rows, first {absent[0].as_py()}",
                expected="every row committed before it is read",
                remedy="run the same command again; only what is missing is computed",
            )
        kept = rows.select(list(dict.fromkeys([KEY, *columns]))) if columns is not None else rows
        return kept.take(position)

    def refused(self, keys: Sequence[str] | pa.Array | None = None) -> pa.Table:
        """Rows refused and not made since (key, error_class, error_message, transient, path), each key once."""
        names = [KEY, ERROR_CLASS, ERROR_MESSAGE, TRANSIENT, PATH, COMMITTED_US]

        def read(file: pq.ParquetFile) -> pa.Table | None:
            bad = pc.is_valid(file.read(columns=[ERROR_CLASS])[ERROR_CLASS])
            if not pc.any(bad).as_py():  # nearly always
                return None
            return file.read(columns=names).replace_schema_metadata(None).filter(bad)

        found = [rows for rows in self.of_each(read) if rows is not None]
        if not found:
            return self._no_rows(names[:-1])
        bad = pa.concat_tables(found)
        if keys is not None:
            bad = bad.filter(pc.is_in(bad[KEY], value_set=_one_array(keys)))
        done = self._columns([KEY, ERROR_CLASS])
        lifted = pc.filter(done[KEY], pc.and_(pc.is_null(done[ERROR_CLASS]), pc.is_in(done[KEY], bad[KEY])))
        bad = bad.filter(pc.invert(pc.is_in(bad[KEY], value_set=lifted)))
        return one_row_per_key(bad).select(names[:-1])

    def rows(self, keys_from_to: KeyRange = ("", "")) -> pa.Table:
        """All rows whose key lies in a range, sorted, each key once."""
        found = self.of_each(lambda file: read_range(file, keys_from_to))
        return one_row_per_key(pa.concat_tables(found, promote_options="default")) if found else self._no_rows([KEY])

    def row_pieces(self) -> Iterator[pa.Table]:
        """All rows in the order of their keys, each key once, in pieces that fit in memory."""
        for keys_from_to in key_ranges(self.num_bytes()):
            rows = self.rows(keys_from_to)
            if rows.num_rows:
                yield rows

    def digest(self) -> str:
        """Digest of the content: keys and values in key order, whatever files they are in and when they were made.

        Refusals that another attempt may lift are left out; of the others the class counts, not the message.
        """
        digest = TableDigest()
        for rows in self.row_pieces():
            rows = rows.filter(pc.invert(rows[TRANSIENT]))
            if rows.num_rows:
                digest.update(rows.drop_columns([COMMITTED_US, ERROR_MESSAGE, PATH, TRANSIENT]))
        return digest.hexdigest()

    @staticmethod
    def _no_rows(names: list[str]) -> pa.Table:
        return pa.table({name: pa.array([], BOOKKEEPING.get(name, pa.string())) for name in names})


def _storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Vectors as lists: of vectors, pyarrow 25 writes a null that it cannot read again ("all lists to be of size")."""
    kind = column.type
    return column.cast(pa.list_(kind.value_type)) if pa.types.is_fixed_size_list(kind) else column


def _one_array(keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(keys, pa.ChunkedArray):
        return pa.concat_arrays(keys.chunks or [pa.array([], pa.string())])
    return keys if isinstance(keys, pa.Array) else pa.array(list(keys), pa.string())
