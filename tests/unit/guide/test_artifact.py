"""An artifact in words: counts, columns and rows as they are on disk, and what is near a folder that is none."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts.manifest import write_manifest
from orchestrator.errors import ArtifactError
from orchestrator.guide.artifact import show


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "demo" / "index"
    folder.mkdir(parents=True)
    rows = pa.table({"image_id": ["a", "b", "c"], "label": pa.array([0, 1, 1], pa.int32()), "bytes": [b"x" * 9] * 3})
    pq.write_table(rows, folder / "images.parquet")
    (folder / "notes.json").write_text("[]")
    write_manifest(folder, stage="index", settings={"a": 1}, parents={}, counts={"train": 3}, seconds=0.5)
    return folder


def test_an_artifact_is_shown_with_its_schema_and_first_rows(index: Path) -> None:
    found = show(index, num_rows=2)
    (table,) = found.tables
    assert (table.num_rows, table.columns) == (3, {"image_id": "string", "label": "int32", "bytes": "binary"})
    assert [row["image_id"] for row in table.rows] == ["a", "b"]
    assert table.rows[0]["bytes"] == "9 bytes"
    assert found.manifest is not None
    assert found.manifest.counts == {"train": 3}
    assert (found.other_files, found.problems) == ({"notes.json": 2}, ())


def test_a_damaged_file_is_told(index: Path) -> None:
    (index / "notes.json").write_text("[1]")
    assert any("notes.json" in problem for problem in show(index).problems)


def test_a_folder_that_is_no_artifact_names_those_below_and_beside_it(index: Path) -> None:
    with pytest.raises(ArtifactError, match="demo/index"):
        show(index.parent)
    with pytest.raises(ArtifactError, match="demo/index"):
        show(index.with_name("indx"))
