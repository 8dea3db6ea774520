"""The files of a teacher store: which there are, and reading them while others commit, compact and delete.

Reads and writes a store's folders. Knows nothing of models.
"""

import re
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.intents import Intent, Intents, committed
from orchestrator.artifacts.ledger import CommitRecord, ledger_table, ledger_totals, merge_ledgers
from orchestrator.artifacts.store_rows import KEY, KeyRange, in_range
from orchestrator.artifacts.table_digest import digest_table
from orchestrator.errors import ArtifactError

_RETRIES = 20  # a listing that a concurrent compaction overtook is read again
SUFFIX = ".parquet"
_T = TypeVar("_T")
File = tuple[Folder, str]


class StoreFiles:
    """The parts, segments, ledger and intents of one store.

    Args:
        folder: local path, URI or `Folder`; created on the first write.
    """

    def __init__(self, folder: Folder | Path | str) -> None:
        self.folder = folder if isinstance(folder, Folder) else Folder(str(folder))
        self.part_files, self.segment_files = self.folder.child("parts"), self.folder.child("segments")
        self.ledger_files, self.intent_files = self.folder.child("ledger"), self.folder.child("intents")

    def intents(self, run: str) -> Intents:
        """The store's intents, as seen by `run`."""
        return Intents(self.intent_files, run)

    def commit_nothing(self, *records: CommitRecord) -> None:
        """Write records without rows into the ledger: what was lost."""
        now_us = time.time_ns() // 1000
        self.write_ledger(ledger_table([record.model_copy(update={"committed_us": now_us}) for record in records]))

    def count_lost(self, dead: Sequence[Intent], run: str) -> int:
        """Record attempts of dead processes as lost, but for those that had committed, and take them all back.

        Returns how many were lost. However often and by whomever an attempt is counted, the ledger has it once.
        """
        paid = committed(dead, self.ledger())
        lost = [intent for intent in dead if intent.id not in paid]
        if lost:
            self.commit_nothing(
                *(CommitRecord(id=f"lost-{i.id}", run=run, lost_attempts=1, lost_rows=i.num_rows) for i in lost)
            )
        for intent in dead:
            self.intents(run).end(intent)
        return len(lost)

    def write_ledger(self, records: pa.Table) -> str:
        """Write records (LEDGER_SCHEMA) and wait until the disk has them; returns the file's name."""
        return _write_anew(self.ledger_files, records)

    def write_segment(self, rows: pa.Table) -> str:
        """Write rows (sorted, each key once) as a segment and wait until the disk has it; returns the name."""
        return _write_anew(self.segment_files, rows)

    def files(self) -> list[File]:
        """Segments, then parts.

        A compaction writes segments before it deletes parts; so the parts are listed first, and nothing is missed.
        """
        parts = [(self.part_files, name) for name in parquet_names(self.part_files.names())]
        return [(self.segment_files, name) for name in parquet_names(self.segment_files.steady_names())] + parts

    def steadily(self, read: Callable[[], _T]) -> _T:
        """Run `read`, again from its listing when a concurrent compaction deleted a file in between."""
        for attempt in range(_RETRIES):
            try:
                return read()
            except FileNotFoundError:
                time.sleep(0.01 * attempt)
        raise ArtifactError(
            f"{self.folder}: files vanish as often as they are listed",
            expected="at most a compaction now and then",
            remedy="see that nothing but this program deletes files there",
        )

    def of_each(self, read: Callable[[pq.ParquetFile], _T]) -> list[_T]:
        """What `read` makes of each file, segments first.

        Raises:
            DamagedFileError: one does not hold what was written.
        """
        return self.steadily(lambda: self.folder.each(lambda file: file[0].parquet(file[1], read), self.files()))

    def ledger(self) -> pa.Table:
        """Every commit's record (LEDGER_SCHEMA), in the order of the commits."""

        def read() -> pa.Table:
            names = parquet_names(self.part_files.names())  # before the ledger's files, like the segments
            parts = self.part_files.each(self._record, names)
            tables = self.ledger_files.each(self.read_ledger, parquet_names(self.ledger_files.steady_names()))
            return merge_ledgers([ledger_table([record for record in parts if record is not None]), *tables])

        return self.steadily(read)

    def _record(self, name: str) -> CommitRecord | None:
        return self.part_files.parquet(name, lambda file: CommitRecord.from_metadata(file.schema_arrow.metadata))

    def read_ledger(self, name: str) -> pa.Table:
        """One of the ledger's files. Raises FileNotFoundError."""
        return self.ledger_files.parquet(name, lambda file: file.read().replace_schema_metadata(None))

    def totals(self) -> dict[str, float]:
        """What the store has cost: the ledger's sums."""
        return ledger_totals(self.ledger())

    def num_parts(self) -> int:
        """Part files that compaction has not rewritten yet."""
        return len(self.part_files.names())

    def num_bytes(self) -> int:
        """Bytes of all files."""
        folders = (self.part_files, self.segment_files, self.ledger_files)
        return sum(sum(folder.sizes().values()) for folder in folders)


def read_range(file: pq.ParquetFile, keys_from_to: KeyRange) -> pa.Table:
    """A file's rows whose key lies in a range; only the row groups that may hold some are read."""
    low, high = keys_from_to
    if not low and not high:
        return file.read().replace_schema_metadata(None)
    column = file.schema_arrow.names.index(KEY)
    groups = []
    for number in range(file.num_row_groups):
        statistics = file.metadata.row_group(number).column(column).statistics
        known = statistics is not None and statistics.has_min_max
        if not known or (statistics.max >= low and (not high or statistics.min < high)):
            groups.append(number)
    rows = file.read_row_groups(groups) if groups else file.schema_arrow.empty_table()
    return rows.filter(in_range(rows[KEY], keys_from_to)).replace_schema_metadata(None)


def _write_anew(folder: Folder, table: pa.Table) -> str:
    name = f"{uuid.uuid4().hex[:12]}-{digest_table(table)}{SUFFIX}"
    folder.write_table(name, table)
    folder.sync()
    return name


def short_run(run: str) -> str:
    """The part of a file's name that tells whose it is; without a hyphen."""
    return re.sub(r"\W", "_", run[:8], flags=re.ASCII) or "none"


def parquet_names(names: list[str]) -> list[str]:
    """Those that are a store's; a file manager may have left others."""
    return [name for name in names if name.endswith(SUFFIX)]
