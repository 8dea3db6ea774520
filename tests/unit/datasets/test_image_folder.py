"""Image folders: classes, splits and their errors, on real files."""

from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from orchestrator.datasets.image_folder import ImageFolderSettings
from orchestrator.errors import DataError


def fill(folder: Path, num_images: int, extension: str = ".png") -> None:
    folder.mkdir(parents=True)
    for i in range(num_images):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"{i:03d}{extension}")


def test_split_folders_give_alphabetical_labels_and_ids_below_the_root(tmp_path: Path) -> None:
    for split in ("training", "val"):
        fill(tmp_path / split / "zebra", 2)
        fill(tmp_path / split / "ant" / "images", 1)
    (tmp_path / "training" / "ant" / "notes.txt").write_text("no image")
    index = ImageFolderSettings(root=str(tmp_path), folders={"train": "training", "report": "val"}).index(tmp_path)
    assert index.classes.column("name").to_pylist() == ["ant", "zebra"]
    rows = {row["image_id"]: (row["split"], row["label"]) for row in index.images.to_pylist()}
    assert rows["training/zebra/001.png"] == ("train", 1)
    assert rows["val/ant/images/000.png"] == ("report", 0)
    assert len(rows) == 6
    assert index.class_counts("train") == (1, 2)


def test_fractions_split_each_class_by_itself_and_only_by_the_stored_seed(tmp_path: Path) -> None:
    fill(tmp_path / "a", 10)
    fill(tmp_path / "b", 7)
    settings = ImageFolderSettings(root=str(tmp_path), select_fraction=0.2, report_fraction=0.3, split_seed=5)
    index = settings.index(tmp_path)
    assert index.class_counts("report") == (3, 2)
    assert index.class_counts("select") == (2, 1)
    assert index.class_counts("train") == (5, 4)
    assert settings.index(tmp_path).images.equals(index.images)
    other = settings.model_copy(update={"split_seed": 6}).index(tmp_path)
    assert other.images.column("split").to_pylist() != index.images.column("split").to_pylist()


def test_a_dangling_link_is_quarantined(tmp_path: Path) -> None:
    fill(tmp_path / "a", 1)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    index = ImageFolderSettings(root=str(tmp_path)).index(tmp_path)
    assert index.quarantine.column("error_class").to_pylist() == ["FileNotFoundError"]


def test_missing_folders_are_all_named(tmp_path: Path) -> None:
    settings = ImageFolderSettings(root=str(tmp_path), folders={"train": "x", "report": "y"})
    with pytest.raises(DataError) as caught:
        settings.index(tmp_path)
    assert str(tmp_path / "x") in str(caught.value)
    assert str(tmp_path / "y") in str(caught.value)


def test_empty_and_unknown_class_folders_are_errors(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "ant", 1)
    fill(tmp_path / "train" / "bee", 0)
    fill(tmp_path / "val" / "wasp", 1)
    settings = ImageFolderSettings(root=str(tmp_path), folders={"train": "train", "select": "val"})
    with pytest.raises(DataError) as caught:
        settings.index(tmp_path)
    assert "bee holds no image" in str(caught.value)
    assert "wasp is no class of the train split" in str(caught.value)


def test_a_root_without_class_folders_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder of images for each class"):
        ImageFolderSettings(root=str(tmp_path)).index(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"folders": {"train": "a"}, "select_fraction": 0.1},
        {"folders": {"report": "a"}},
        {"select_fraction": 0.5, "report_fraction": 0.5},
        {"extensions": ["png"]},
    ],
)
def test_contradicting_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageFolderSettings.model_validate({"root": "x", **options})
