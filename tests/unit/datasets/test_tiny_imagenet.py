"""Tiny ImageNet: its layout, and everything that can be wrong with it."""

from pathlib import Path

import pytest

from orchestrator.datasets.tiny_imagenet import TinyImageNetSettings
from orchestrator.errors import DataError
from tests.tiny_datasets import picture, tiny_imagenet


def test_labels_are_sorted_wordnet_ids_and_names_the_first_of_words(tmp_path: Path) -> None:
    index = TinyImageNetSettings.model_validate(tiny_imagenet(tmp_path)).index(tmp_path)
    assert index.classes["name"].to_pylist() == ["goldfish", "tailed frog", "bullfrog"]
    assert index.class_counts("train") == (5, 4, 6)
    assert index.class_counts("report") == (1, 1, 1)
    rows = {row["image_id"]: (row["split"], row["label"]) for row in index.images.to_pylist()}
    assert rows["train/n03/images/n03_5.JPEG"] == ("train", 2)
    assert rows["val/images/val_1.JPEG"] == ("report", 0)
    assert not any("test" in name or "boxes" in name for name in rows)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    settings = TinyImageNetSettings.model_validate(tiny_imagenet(tmp_path))
    picture(tmp_path / "secret.JPEG", 99)
    (tmp_path / "val" / "images" / "link.JPEG").symlink_to(tmp_path / "secret.JPEG")
    (tmp_path / "train" / "n01" / "images" / "link.JPEG").symlink_to(tmp_path / "secret.JPEG")
    with (tmp_path / "wnids.txt").open("a") as file:
        file.write("n03\nn09\n../../escape\n")
    with (tmp_path / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_0.JPEG\tn01\nlost.JPEG\tn01\n../../secret.JPEG\tn01\nval_7.JPEG\tn77\nlink.JPEG\tn01\nword\n")
    with pytest.raises(DataError) as caught:
        settings.listing(tmp_path)
    text = str(caught.value)
    assert text.startswith("12 problem(s)")
    for expected in (
        "wnids.txt: n03 stands there twice",
        "words.txt: no name for n09",
        "words.txt: no name for ../../escape",
        "train/n09/images holds no .JPEG",
        "train/../../escape/images holds no .JPEG",
        "'n01/images/link.JPEG' leaves the root through a link",
        "val_annotations.txt line 4: val_0.JPEG is already listed at line 1",
        "val_annotations.txt line 5: val/images/lost.JPEG is missing",
        "val_annotations.txt line 6: '../../secret.JPEG\\tn01' is not",
        "val_annotations.txt line 7: 'val_7.JPEG\\tn77' is not",
    ):
        assert expected in text


def test_missing_lists_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 problem\(s\)"):
        TinyImageNetSettings(root=str(tmp_path)).index(tmp_path)
