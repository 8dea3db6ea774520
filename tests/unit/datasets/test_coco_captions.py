"""COCO: images without labels, labels by the largest object, its captions as a source of texts, and bad rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from orchestrator.captioners.texts import HumanCaptionsText, TextMaterial
from orchestrator.datasets.coco_captions import CocoCaptionsSettings
from orchestrator.errors import DataError
from tests.tiny_datasets import coco_captions, picture


def made(root: Path, **options: Any) -> CocoCaptionsSettings:
    """Settings of the tiny data set."""
    return CocoCaptionsSettings.model_validate(coco_captions(root) | options)


def test_without_instances_all_images_are_of_one_class(tmp_path: Path) -> None:
    index = made(tmp_path, instances=None).index(tmp_path)
    assert index.classes.to_pylist() == [{"label": 0, "name": "image", "description": None, "seen": True}]
    assert (index.class_counts("train"), index.class_counts("report")) == ((15,), (4,))
    assert index.images["image_id"][0].as_py() == "train2017/000000000001.jpg"


def test_with_instances_the_largest_object_is_the_label(tmp_path: Path) -> None:
    index = made(tmp_path).index(tmp_path)
    assert index.classes["name"].to_pylist() == ["person", "dog", "scene"]  # by category id; then images without any
    labels = dict(zip(index.images["image_id"].to_pylist(), index.images["label"].to_pylist(), strict=True))
    assert labels["train2017/000000000001.jpg"] == 1  # a dog of 40.5 beside a person of 30
    assert labels["train2017/000000000002.jpg"] == 0
    assert labels["train2017/000000000015.jpg"] == 2
    assert index.notes == ("2 images without an object are of the class 'scene'",)
    left = made(tmp_path, no_object="leave_out").index(tmp_path)
    assert left.classes["name"].to_pylist() == ["person", "dog"]
    assert set(left.images["image_id"].to_pylist()) == {name for name, label in labels.items() if label < 2}


def test_of_equally_large_objects_the_smaller_category_counts(tmp_path: Path) -> None:
    settings = made(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    tree = json.loads(path.read_text())
    tree["annotations"] = [{"image_id": 1, "category_id": c, "area": 5} for c in (18, 1)]
    path.write_text(json.dumps(tree))
    assert settings.index(tmp_path).images["label"][0].as_py() == 0


def test_its_captions_are_found_by_the_source_of_human_captions(tmp_path: Path) -> None:
    index = made(tmp_path).index(tmp_path)
    train = index.images.filter(pc.field("split") == "train")
    source = HumanCaptionsText(files=(str(tmp_path / "annotations" / "captions_train2017.json"),))
    groups = source.texts_of_images(TextMaterial(train, index.classes, pa.table({})))
    assert groups == [(f"view 0 of {number}", f"view 1 of {number}") for number in range(1, 16)]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    settings = made(tmp_path)
    picture(tmp_path / "secret.jpg", 99)
    (tmp_path / "train2017" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    captions, instances = (tmp_path / "annotations" / f"{name}_train2017.json" for name in ("captions", "instances"))
    names = ("../secret.jpg", "link.jpg", "none.jpg", "000000000001.jpg")
    tree = json.loads(captions.read_text())
    tree["images"] += [{"id": 50 + i, "file_name": name} for i, name in enumerate(names)] + [{"id": 1}]
    captions.write_text(json.dumps(tree))
    tree = json.loads(instances.read_text())
    tree["categories"].append({"id": 3})
    tree["annotations"] += [{"image_id": 1, "category_id": 77, "area": 1}, {"image_id": 1}]
    instances.write_text(json.dumps(tree))
    with pytest.raises(DataError) as caught:
        settings.listing(tmp_path)
    text = str(caught.value)
    assert text.startswith("8 problem(s)")
    for expected in (
        "images[15]: '../secret.jpg' leaves the root",
        "images[16]: 'link.jpg' leaves the root through a link",
        "images[17]: train2017/none.jpg is missing",
        "images[18]: image 53, 000000000001.jpg, is named twice",
        "images[19]: no id and file_name",
        "categories[2]: no id and name",
        "annotations[28]: category 77 has no name",
        "annotations[29]: no image_id, category_id and area",
    ):
        assert expected in text


def test_a_folder_of_images_that_the_settings_name_may_be_a_link(tmp_path: Path) -> None:
    settings = made(tmp_path / "data")
    (tmp_path / "data" / "train2017").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "train2017").symlink_to(tmp_path / "elsewhere")
    assert settings.index(tmp_path).images.num_rows == 19


@pytest.mark.parametrize(
    "options",
    [
        {"captions": {"report": "x"}, "images": {"report": "x"}},
        {"images": {"train": "x"}},
        {"instances": {"train": "x"}},
    ],
)
def test_splits_that_do_not_agree_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="the same splits"):
        CocoCaptionsSettings.model_validate({"root": "x"} | options)
