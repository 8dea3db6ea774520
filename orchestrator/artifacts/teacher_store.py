"""The content-addressed store of teacher outputs: captions, text embeddings, image embeddings.

Each row is keyed by the digest of everything that determines it, so a rerun computes only what is missing. Rows are
committed in small part files whose name is the digest of the keys they hold: committing the same micro-batch twice
replaces one file by its equal. Reads and writes `<folder>/part-*.parquet`. Knows nothing of models or of Ray.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import read_table, remove_leftovers, write_atomically
from orchestrator.errors import ArtifactError

KEY = "key"
SCHEMA_VERSION = 1


def row_key(**parts: object) -> str:
    """Key of one row: digest of its named parts and of the store's schema version."""
    return fingerprint({"schema": SCHEMA_VERSION, **parts})


class TeacherStore:
    """One teacher's rows of one kind. Any number of processes may read and commit at once.

    Args:
        folder: where the part files lie; created on the first commit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def parts(self) -> list[Path]:
        """Part files in name order."""
        return sorted(self.folder.glob("part-*.parquet"))

    def keys(self) -> set[str]:
        """Every key in the store."""
        found: set[str] = set()
        for part in self.parts():
            found.update(pq.read_table(part, columns=[KEY], partitioning=None)[KEY].to_pylist())
        return found

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that the store does not hold, in their order, each once."""
        present = self.keys()
        return [key for key in dict.fromkeys(keys) if key not in present]

    def commit(self, table: pa.Table, *, model_rows: int) -> Path:
        """Write one micro-batch atomically.

        Args:
            table: rows with a string column `key`; no key twice.
            model_rows: rows that went through the model for this commit (the ledger of what was paid).
        """
        keys = table[KEY].to_pylist()
        if len(set(keys)) != len(keys):
            raise ArtifactError("a micro-batch holds a key twice", expected="one row for each key")
        metadata = {b"model_rows": str(model_rows).encode(), b"committed_unix_s": f"{time.time():.3f}".encode()}
        path = self.folder / f"part-{fingerprint(sorted(keys))}.parquet"
        tagged = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
        write_atomically(path, lambda temporary: pq.write_table(tagged, temporary))
        return path

    def read(self, keys: Sequence[str]) -> pa.Table:
        """Rows for `keys`, in that order.

        Raises:
            ArtifactError: a key is not in the store.
        """
        parts = [read_table(part) for part in self.parts()]
        if not parts:
            raise ArtifactError(f"{self.folder} holds no rows", expected=f"{len(set(keys))} rows")
        table = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
        position = {key: index for index, key in enumerate(table[KEY].to_pylist())}
        absent = [key for key in keys if key not in position]
        if absent:
            raise ArtifactError(
                f"{self.folder} lacks {len(absent)} of {len(keys)} rows, first {absent[0]}",
                expected="every row committed before it is read",
                remedy="run the same command again; only what is missing is computed",
            )
        return table.take(pa.array([position[key] for key in keys], pa.int64()))

    def model_rows(self) -> int:
        """Rows that went through the model for all part files together: what the store has cost."""
        return sum(int((pq.read_schema(part).metadata or {}).get(b"model_rows", b"0")) for part in self.parts())

    def verify(self, *, repair: bool) -> tuple[list[str], dict[str, int]]:
        """Check every part: readable, no empty or null values, no key in two parts.

        Returns the problems, in words, and counts. With `repair`, unreadable parts and leftovers of killed processes
        are removed, empty rows too (all of these are then missing and computed again), and duplicates are dropped.
        """
        problems: list[str] = []
        seen: dict[str, Path] = {}
        rows = model_rows = 0
        if repair:
            remove_leftovers(self.folder)
        for part in self.parts():
            try:
                table = read_table(part)
            except (pa.ArrowInvalid, OSError) as error:
                problems.append(f"{part.name}: unreadable ({error}){' - removed' if repair else ''}")
                if repair:
                    part.unlink()
                continue
            model_rows += _model_rows(table.schema)
            keys = table[KEY].to_pylist()
            if part.name != f"part-{fingerprint(sorted(keys))}.parquet":
                problems.append(f"{part.name}: its keys do not match its name{' - removed' if repair else ''}")
                if repair:
                    part.unlink()
                    continue
            empty = {name: found for name in table.column_names if pc.any(found := _is_empty(table[name])).as_py()}
            if empty:
                problems.append(f"{part.name}: empty values in {', '.join(empty)}")
            twice = [key for key in keys if key in seen]
            if twice:
                problems.append(f"{part.name}: {len(twice)} keys also in {seen[twice[0]].name}")
            drop = {key for found in empty.values() for key, bad in zip(keys, found.to_pylist(), strict=True) if bad}
            drop.update(twice)
            if repair and drop:
                self._drop_rows(part, table, drop)
                keys = [key for key in keys if key not in drop]
            seen.update((key, part) for key in keys if key not in seen)
            rows += len(keys)
        return problems, {"parts": len(self.parts()), "rows": rows, "keys": len(seen), "model_rows": model_rows}

    def _drop_rows(self, part: Path, table: pa.Table, drop: set[str]) -> None:
        keep = pa.array([key not in drop for key in table[KEY].to_pylist()])
        rest = table.filter(keep)
        if rest.num_rows:
            self.commit(rest, model_rows=_model_rows(table.schema))  # what was paid stays paid
        part.unlink()


def _model_rows(schema: pa.Schema) -> int:
    return int((schema.metadata or {}).get(b"model_rows", b"0"))


def _is_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    missing = pc.is_null(column)
    if pa.types.is_string(column.type):
        return pc.or_(missing, pc.fill_null(pc.equal(pc.utf8_length(column), 0), True))
    return missing
