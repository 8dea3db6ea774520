"""Parquet files and WebDataset tars: what their files say of classes, and what is told when they cannot be used."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from orchestrator.datasets import ListFileSettings, ParquetSettings, WebDatasetSettings
from orchestrator.datasets.index import read_image_bytes
from orchestrator.datasets.parquet_cells import cell_path
from orchestrator.errors import DataError
from tests.tiny_datasets import encoded, parquet, webdataset


def shard(path: Path, members: dict[str, bytes]) -> None:
    """A tar of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_the_names_of_classes_are_those_that_a_hub_tells(tmp_path: Path) -> None:
    index = ParquetSettings.model_validate(parquet(tmp_path / "data")).index(tmp_path)
    assert index.classes["name"].to_pylist() == ["tench", "goldfish", "shark"]
    assert index.class_counts("train") == (6, 5, 4)


def test_cells_are_read_by_row_in_any_order_whatever_the_compression(tmp_path: Path) -> None:
    images = [encoded(n) for n in range(23)]
    for codec in ("snappy", "zstd", "none"):
        path = tmp_path / f"{codec}.parquet"
        pq.write_table(
            pa.table({"png": pa.array(images, pa.large_binary())}), path, compression=codec, row_group_size=4
        )
        for row in (22, 0, 7, 3, 4, 21):
            assert read_image_bytes(cell_path(path, "png"), row, -1) == images[row]
        with pytest.raises(DataError, match="has 23 rows, and row 23 is wanted"):
            read_image_bytes(cell_path(path, "png"), 23, -1)


def test_labels_that_are_names_are_numbered_in_alphabetical_order_of_the_training_split(tmp_path: Path) -> None:
    rows = {"train": ["wolf", "cat", "wolf"], "test": ["cat"]}
    for split, labels in rows.items():
        images = [encoded(hash_of) for hash_of in range(10 * len(labels), 11 * len(labels))]
        pq.write_table(pa.table({"bytes": images, "species": labels}), tmp_path / f"{split}.parquet")
    settings = ParquetSettings(
        root=str(tmp_path), files={"train": "train.parquet", "report": "test.parquet"}, image_column="bytes",
        label_column="species",
    )  # fmt: skip
    index = settings.index(tmp_path)
    assert index.classes["name"].to_pylist() == ["cat", "wolf"]
    assert index.images["label"].to_pylist() == [1, 0, 1, 0]
    pq.write_table(pa.table({"bytes": [encoded(99)], "species": ["fox"]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="the report split has labels that no class has: fox"):
        settings.index(tmp_path)


def test_all_that_is_wrong_with_parquet_files_is_told_at_once(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["text"], "label": [0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"picture": [b"x"], "label": [0]}), tmp_path / "b.parquet")
    settings = ParquetSettings(
        root=str(tmp_path),
        files={"train": ("a.parquet", "b.parquet"), "report": "gone-*.parquet"},
        image_column="image",
    )
    with pytest.raises(DataError) as error:
        settings.index(tmp_path)
    told = str(error.value)
    assert "a.parquet: image is of type string, not binary" in told
    assert "b.parquet: no column image; there are picture, label" in told
    assert "gone-*.parquet: no file matches" in told


def test_an_empty_cell_goes_to_the_quarantine_and_stops_nothing(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([encoded(1), None, b"no image"], pa.binary()), "label": [0, 0, 0]})
    pq.write_table(table, tmp_path / "train.parquet")
    settings = ParquetSettings(root=str(tmp_path), files={"train": "train.parquet"}, image_column="image")
    index = settings.index(tmp_path)
    assert index.images["image_id"].to_pylist() == ["train.parquet/0"]
    messages = index.quarantine["message"].to_pylist()
    assert "row 1 of image is empty" in messages[0]
    assert "not an image" in messages[1]


def test_samples_of_shards_are_read_in_place_by_offset(tmp_path: Path) -> None:
    index = WebDatasetSettings.model_validate(webdataset(tmp_path / "data")).index(tmp_path)
    assert index.class_counts("train") == (7, 6, 5)
    row = index.images.slice(3, 1).to_pylist()[0]
    assert row["path"].endswith("train-0.tar")
    assert row["offset"] > 0
    assert row["image_id"] == "train-0.tar/00003"


def test_samples_without_an_image_or_a_label_are_all_told(tmp_path: Path) -> None:
    shard(
        tmp_path / "a.tar",
        {
            "one.jpg": encoded(1), "one.cls": b"0", "two.cls": b"0", "three.jpg": encoded(3),
            "sub/four.jpg": encoded(4), "sub/four.json": json.dumps({"other": 1}).encode(),
        },
    )  # fmt: skip
    with pytest.raises(DataError) as error:
        WebDatasetSettings(root=str(tmp_path), shards={"train": "*.tar"}).index(tmp_path)
    told = str(error.value)
    assert "sample two has 0 images" in told
    assert "sample three has no .cls, nor a .json with label" in told
    assert "sample sub/four has no .cls" in told
    assert "sample one" not in told


def test_a_shard_in_two_splits_is_refused(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"one.jpg": encoded(1), "one.cls": b"0"})
    with pytest.raises(DataError, match=r"a\.tar is in the train split and in the report split"):
        WebDatasetSettings(root=str(tmp_path), shards={"train": "a.tar", "report": "*.tar"}).index(tmp_path)


@pytest.mark.parametrize(
    ("settings", "named_by"), [(ParquetSettings, "files"), (WebDatasetSettings, "shards"), (ListFileSettings, "lists")]
)
def test_both_contradictions_of_splits_are_told_at_once(settings: Any, named_by: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings.model_validate({"root": "x", named_by: {"select": "a"}, "select_fraction": 0.1})
    assert f"{named_by} must name the files of the train split; give either {named_by} of the select" in str(
        error.value
    )
