"""What lies in an artifact's folder, in words: its manifest, its parents, its tables with their columns and some rows.

Reads manifests and tables' headers and first rows, never a whole table. Knows nothing of stages.
"""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from orchestrator.artifacts.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ArtifactError
from orchestrator.frozen import Frozen

CELL_CHARACTERS = 120


class Table(Frozen):
    """A table: its size, the types of its columns and its first rows."""

    name: str
    num_rows: int
    columns: dict[str, str]
    rows: tuple[dict[str, str], ...]


class Shown(Frozen):
    """An artifact in words; `manifest` is None where it was never finished."""

    folder: str
    manifest: Manifest | None
    begun: dict[str, Any] = Field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    other_files: dict[str, int] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()


def show(folder: Path, num_rows: int = 3) -> Shown:
    """One artifact.

    Raises:
        ArtifactError: the folder is none; names those below it.
    """
    manifest = read_manifest(folder) if folder.is_dir() else None
    begun = folder / "begun.json"
    if manifest is None and not begun.is_file():
        raise _not_one(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return Shown(
        folder=str(folder),
        manifest=manifest,
        begun=read_json(begun) if manifest is None else {},
        tables=tuple(_table(path, num_rows) for path in files if path.suffix == ".parquet"),
        other_files={
            path.name: path.stat().st_size for path in files if path.suffix != ".parquet" and path.name != MANIFEST_NAME
        },
        problems=tuple(verify_files(folder)) if manifest is not None else (),
    )


def artifacts_below(folder: Path) -> list[Path]:
    """Folders with a manifest, in name order."""
    return sorted(path.parent for path in folder.rglob(MANIFEST_NAME))


def _not_one(folder: Path) -> ArtifactError:
    if not folder.is_dir():
        near = folder.parent
        beside = [str(path) for path in artifacts_below(near)[:6]] if near.is_dir() else []
        return ArtifactError(f"{folder}: no such folder", expected=", ".join(beside) or "the folder of an artifact")
    below = [str(path) for path in artifacts_below(folder)]
    more = f" and {len(below) - 12} more" if len(below) > 12 else ""
    return ArtifactError(
        f"{folder} is no artifact (it has no {MANIFEST_NAME})",
        expected=", ".join(below[:12]) + more if below else "the folder of an artifact, as runs/demo/index",
    )


def _table(path: Path, num_rows: int) -> Table:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        batch = next(file.iter_batches(batch_size=max(1, num_rows)), None) if num_rows else None
        rows = [] if batch is None else batch.slice(0, num_rows).to_pylist()
        return Table(
            name=path.name,
            num_rows=file.metadata.num_rows,
            columns={field.name: str(field.type) for field in schema},
            rows=tuple({name: _cell(value) for name, value in row.items()} for row in rows),
        )


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values: {', '.join(_cell(one) for one in value[:4])}, ..."
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 3] + "..."
