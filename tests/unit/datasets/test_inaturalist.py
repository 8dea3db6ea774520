"""iNaturalist: both forms of its annotations, names, and every kind of bad row."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.datasets.inaturalist import INaturalistSettings
from orchestrator.errors import DataError
from tests.tiny_datasets import inaturalist, picture


def edit(path: Path, **changes: Any) -> None:
    """Replace keys of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_images_are_joined_by_id_and_labels_are_the_places_of_category_ids(tmp_path: Path) -> None:
    index = INaturalistSettings.model_validate(inaturalist(tmp_path)).index(tmp_path)
    assert index.classes["name"].to_pylist() == ["Bufo bufo", "Quercus alba", "Apis"]  # ids 2, 5, 9
    assert index.class_counts("train") == (5, 6, 4)
    assert index.class_counts("report") == (1, 1, 1)
    labels = {2: 0, 5: 1, 9: 2}
    for row in index.images.to_pylist():
        assert row["label"] == labels[int(row["image_id"].split("/")[2])]
        assert row["path"] == str(tmp_path / row["image_id"])


def test_the_variant_with_fpath_gives_the_same_images_without_following_its_absolute_paths(tmp_path: Path) -> None:
    whole = INaturalistSettings.model_validate(inaturalist(tmp_path / "a")).index(tmp_path)
    variant = INaturalistSettings.model_validate(inaturalist(tmp_path / "b", fpath=True)).index(tmp_path)
    columns = ["image_id", "split", "label", "content_hash"]
    assert variant.images.select(columns).equals(whole.images.select(columns))
    assert variant.classes["name"].to_pylist() == ["class 2", "class 5", "class 9"]
    assert variant.notes == ("no file names the categories: texts with class names would say nothing",)
    assert whole.notes == ()


@pytest.mark.parametrize("form", ["list", "object"])
def test_names_come_from_the_categories_file_where_one_is_given(tmp_path: Path, form: str) -> None:
    rows = [{"id": i, "name": f"species {i}", "kingdom": "Life"} for i in range(12)]
    settings = inaturalist(tmp_path)
    (tmp_path / "categories.json").write_text(json.dumps(rows if form == "list" else {"categories": rows}))
    index = INaturalistSettings.model_validate(settings | {"categories": "categories.json"}).index(tmp_path)
    assert index.classes["name"].to_pylist() == [f"species {i}" for i in range(12)]
    assert index.class_counts("train") == (0, 0, 5, 0, 0, 6, 0, 0, 0, 4, 0, 0)


def test_images_may_lie_in_another_folder(tmp_path: Path) -> None:
    settings = inaturalist(tmp_path)
    (tmp_path / "train_val2018").rename(tmp_path / "pictures")
    index = INaturalistSettings.model_validate(settings | {"images": "pictures"}).index(tmp_path)
    assert index.images.num_rows == 18
    assert all(name.startswith("train_val2018/") for name in index.images["image_id"].to_pylist())


def test_all_bad_rows_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    settings = inaturalist(tmp_path)
    picture(tmp_path / "secret.jpg", 99)
    (tmp_path / "train_val2018" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    images = [
        {"id": 1, "file_name": "train_val2018/Life/5/0001.jpg"},
        {"id": 2, "file_name": "train_val2018/../secret.jpg"},
        {"id": 3, "file_name": "train_val2018/link.jpg"},
        {"id": 4, "file_name": "train_val2018/Life/5/none.jpg"},
        {"id": "5"},
        {"id": 6, "file_name": "/etc/passwd"},
        {"id": 6, "file_name": "train_val2018/Life/5/0002.jpg"},
    ]
    ids = (1, 1, 2, 3, 4, 6, 77)
    annotations: list[Any] = [{"id": i, "image_id": i, "category_id": 5} for i in ids]
    annotations += [{"image_id": 1}, {"category_id": 5}, "text", {"fpath": "../x.jpg", "category_id": 5}]
    edit(tmp_path / "train2018.json", images=images, annotations=annotations)
    val = json.loads((tmp_path / "val2018.json").read_text())["annotations"]
    edit(tmp_path / "val2018.json", annotations=[*val, {"image_id": 16, "category_id": 4}])
    with pytest.raises(DataError) as caught:
        INaturalistSettings.model_validate(settings).listing(tmp_path)
    problems = str(caught.value)
    assert problems.startswith("14 problem(s)")
    for text in (
        "train2018.json: images[4]: no id and file_name",
        "train2018.json: images[6]: id 6 occurs twice",
        "train2018.json: annotations[6]: image 77 is not among the images",
        "train2018.json: annotations[7]: no category_id",
        "train2018.json: annotations[8]: neither fpath nor image_id",
        "train2018.json: annotations[9]: no category_id",
        "categories 4 have no name",
        "annotations[1]: train_val2018/Life/5/0001.jpg is already named at train2018.json: annotations[0]",
        "train2018.json: annotations[2]: '../secret.jpg' leaves the root",
        "train2018.json: annotations[3]: 'link.jpg' leaves the root through a link",
        "and 4 more",
    ):
        assert text in problems


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "holds no lists"), ('{"images": []}', "holds no lists"),
     ('{"annotations": [], "images": 3}', "images is no list"), ('{"annotations": []}', "names no image")],
)  # fmt: skip
def test_files_that_are_no_annotations_are_refused(tmp_path: Path, text: str, message: str) -> None:
    settings = inaturalist(tmp_path)
    (tmp_path / "train2018.json").write_text(text)
    with pytest.raises(DataError, match=message):
        INaturalistSettings.model_validate(settings).index(tmp_path)
    (tmp_path / "train2018.json").unlink()
    with pytest.raises(DataError, match="is not a file"):
        INaturalistSettings.model_validate(settings).index(tmp_path)
