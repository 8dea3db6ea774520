"""CIFAR: the very pixels of the binary files, labels of both kinds, and damaged files."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.datasets.cifar import CifarSettings
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import DataError
from tests.tiny_datasets import cifar, cifar_pixels


@pytest.mark.parametrize("num_classes", [10, 100])
def test_pixels_and_labels_are_those_of_the_files_in_their_order(tmp_path: Path, num_classes: int) -> None:
    index = CifarSettings.model_validate(cifar(tmp_path / "data", num_classes)).index(tmp_path / "work")
    assert index.images.num_rows == 25
    for position, row in enumerate(index.images.to_pylist()):
        split, number = ("train", position) if position < 15 else ("report", position + 35)
        assert row["split"] == split
        assert row["label"] == number % num_classes
        in_split = position if split == "train" else position - 15
        assert row["image_id"] == f"{split}/kind {row['label']}/{in_split:05d}.png"
        image = decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"]))
        assert np.array_equal(np.asarray(image), cifar_pixels(number).transpose(1, 2, 0))


def test_coarse_labels_are_the_first_byte_of_cifar_100(tmp_path: Path) -> None:
    settings = cifar(tmp_path / "data", 100) | {"labels": "coarse"}
    index = CifarSettings.model_validate(settings).index(tmp_path / "work")
    assert index.classes["name"].to_pylist() == [f"family {i}" for i in range(20)]
    assert index.images["label"].to_pylist() == [n % 20 for n in (*range(15), *range(50, 60))]
    with pytest.raises(ValidationError, match="only CIFAR-100 has coarse labels"):
        CifarSettings(root="x", labels="coarse")


def test_finished_tars_are_kept_until_the_files_change(tmp_path: Path) -> None:
    settings = CifarSettings.model_validate(cifar(tmp_path / "data"))
    settings.index(tmp_path / "work")
    times = {split: (tmp_path / "work" / f"{split}.tar").stat().st_mtime_ns for split in ("train", "report")}
    settings.index(tmp_path / "work")
    assert {s: (tmp_path / "work" / f"{s}.tar").stat().st_mtime_ns for s in times} == times
    path = tmp_path / "data" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-3072] + cifar_pixels(999).tobytes())
    row = settings.index(tmp_path / "work").images.to_pylist()[-1]
    image = decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"]))
    assert np.array_equal(np.asarray(image), cifar_pixels(999).transpose(1, 2, 0))
    assert (tmp_path / "work" / "train.tar").stat().st_mtime_ns == times["train"]
    assert not list((tmp_path / "work").glob(".*.part"))


def test_all_problems_of_damaged_files_are_told_at_once(tmp_path: Path) -> None:
    settings = CifarSettings.model_validate(cifar(tmp_path))
    (tmp_path / "data_batch_2.bin").write_bytes(b"short")
    (tmp_path / "data_batch_3.bin").write_bytes(b"")
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    (tmp_path / "batches.meta.txt").write_text("\n".join(["cat", "cat", "a/b", *"defghij"]))
    with pytest.raises(DataError) as caught:
        settings.index(tmp_path)
    text = str(caught.value)
    assert text.startswith("5 problem(s)")
    assert "data_batch_2.bin: 5 bytes are not records of 3,073 bytes" in text
    assert "data_batch_3.bin: 0 bytes are not records" in text
    assert "test_batch.bin: label 10 is outside 0..9" in text
    assert "batches.meta.txt: names with a slash: a/b" in text
    assert "batches.meta.txt: a name stands there twice" in text


def test_the_python_version_is_answered_with_what_to_take_instead(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"")
    with pytest.raises(DataError, match="unpack the binary version") as caught:
        CifarSettings(root=str(tmp_path)).index(tmp_path)
    assert "7 problem(s)" in str(caught.value)
