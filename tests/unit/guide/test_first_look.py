"""A folder with awkward names is looked at as it is, and its sheet validates and indexes what was promised."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.config.load import load_experiment
from orchestrator.errors import ConfigError, DataError
from orchestrator.guide.draft import draft, experiment_name
from orchestrator.guide.first_look import look


def fill(folder: Path, names: list[str], side: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (side, side + number), (number, 90, 30)).save(folder / name)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Blanks, accents, capitals, an empty class, a text file, a loose image and a broken one."""
    root = tmp_path / "My Photos (été)"
    fill(root / "Café crème", [f"IMG {n} – ü.JPG" for n in range(10)])
    fill(root / "red_panda", [f"{n}.png" for n in range(6)])
    fill(root, ["loose.png"])
    (root / "nothing yet").mkdir()
    (root / "notes.txt").write_text("more")
    (root / "red_panda" / "broken.jpg").write_bytes(b"no image")
    return root


def test_a_first_look_counts_and_names_what_may_surprise(photos: Path) -> None:
    found = look(photos)
    assert (found.folders, found.classes) == ({}, {"Café crème": 10, "red_panda": 7})
    assert found.empty == ("nothing yet",)
    assert found.median_side == 40
    told = "\n".join(found.told)
    for what in (
        "1 class without an image, left out: nothing yet",
        "1 image in no folder of a class, left out: loose.png",
        "1 file not of an image, left out (1 .txt): notes.txt",
        "10 file names that end in capitals",
        "1 class name not ASCII",
        "broken.jpg",
    ):
        assert what in told


def test_the_drafted_sheet_validates_and_its_index_holds_what_was_counted(photos: Path, tmp_path: Path) -> None:
    found = look(photos)
    path = draft(found, None, tmp_path / "mine.yaml")
    experiment = load_experiment(path)
    assert experiment.name == "my_photos_ete"
    index = experiment.dataset.index(tmp_path)
    assert index.images.num_rows + index.quarantine.num_rows == found.num_images
    assert index.quarantine["image_id"].to_pylist() == ["red_panda/broken.jpg"]
    assert index.classes["name"].to_pylist() == ["Café crème", "red_panda"]
    assert Counter(index.images["split"].to_pylist())["report"] == 2 + 1
    with pytest.raises(ConfigError, match="is there already"):
        draft(found, None, path)
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == ["mine.yaml"]


def test_folders_of_splits_are_found_by_their_usual_names(tmp_path: Path) -> None:
    for split in ("Training", "val", "test"):
        fill(tmp_path / "birds" / split / "wren", ["a.png", "b.png"])
    fill(tmp_path / "birds" / "test" / "owl", ["a.png"])
    found = look(tmp_path / "birds")
    assert found.folders == {"train": "Training", "select": "val", "report": "test"}
    assert any("test has 1 class" in line or "report has 1 class" in line for line in found.told)
    experiment = load_experiment(draft(found, "birds", tmp_path / "sheets" / "birds.yaml"))
    assert experiment.dataset.model_dump()["folders"] == found.folders


@pytest.mark.parametrize("case", ["no folder", "flat", "no images"])
def test_what_is_no_folder_of_classes_is_told_with_what_to_do(case: str, tmp_path: Path) -> None:
    root = tmp_path / "images"
    if case == "flat":
        fill(root, ["a.png"])
    elif case == "no images":
        (root / "a").mkdir(parents=True)
    with pytest.raises(DataError) as told:
        look(root)
    assert ("is not a folder" in str(told.value)) == (case == "no folder")
    assert 2 <= len(str(told.value).splitlines()) <= 3


def test_a_name_is_made_of_any_folder(tmp_path: Path) -> None:
    assert experiment_name(tmp_path / "日本 犬") == "my_images"
    assert experiment_name(tmp_path / "A--b_C 1") == "a_b_c_1"
