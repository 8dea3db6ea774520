"""Text sources that read files: the published formats, every bad line with its number, classes found by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.captioners.texts import DescriptionFilesText, HumanCaptionsText, SentencesText
from orchestrator.captioners.texts.files import match_classes
from orchestrator.errors import DataError
from tests.unit.captioners.text_tables import class_table, material

LABELS = "002.Crane 2 crane\n001.Sand 1 sand_piper\n003.Fox 3 red_fox\n"
SENTENCES = "The crane is tall.\nThe sandpiper has  thin legs.\nThe fox is red.\n"


def files(folder: Path, labels: str = LABELS, sentences: str | None = SENTENCES) -> DescriptionFilesText:
    (folder / "label2text.txt").write_text(labels)
    if sentences is None:
        return DescriptionFilesText(labels=str(folder / "label2text.txt"))
    (folder / "chatgpt.txt").write_text(sentences)
    return DescriptionFilesText(labels=str(folder / "label2text.txt"), sentences=str(folder / "chatgpt.txt"))


def refusal(source: Any, **tables: Any) -> str:
    with pytest.raises(DataError) as error:
        source.texts_of_images(material(**tables))
    return str(error.value)


@pytest.mark.parametrize("names", [("001.Sand", "002.Crane", "003.Fox"), ("sand_piper", "Crane", "red fox")])
def test_label_texts_are_those_of_the_paper_in_the_order_of_the_data_set(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert files(tmp_path).texts_of_classes(class_table(names), None) == [
        ("a photo of sand piper . The sandpiper has thin legs.",),
        ("a photo of crane . The crane is tall.",),
        ("a photo of red fox . The fox is red.",),
    ]
    base = files(tmp_path, sentences=None)
    assert base.texts_of_classes(class_table(names), None)[0] == ("a photo of sand piper",)


def test_files_may_speak_of_more_classes_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    labels, sentences = LABELS + "\n004.Owl 4 owl\n", "\n" + SENTENCES + "The owl is round.\n\n"
    source = files(tmp_path, labels, sentences)
    assert source.texts_of_images(material(names=("owl", "crane", "red_fox")))[1] == (
        "a photo of owl . The owl is round.",
    )


def test_every_bad_line_of_the_label_file_is_told_with_its_number(tmp_path: Path) -> None:
    labels = "a 1 crane\nb zero fox\nc 0 owl\n\nd 4 snowy owl\na 5 swan\ne 1 duck\n"
    told = refusal(files(tmp_path, labels, "one\n\ntwo\n"))
    assert "6 problem(s)" in told
    for problem in (
        "label2text.txt line 2: 'b zero fox' is not `directory number name`",
        "label2text.txt line 3: 'c 0 owl' is not",
        "label2text.txt line 5: 'd 4 snowy owl' is not",
        "label2text.txt line 6: the directory a stands on line 1 too",
        "label2text.txt line 7: the number 1 stands on line 1 too",
        "chatgpt.txt: 2 sentences, the last on line 3, but 6 classes in label2text.txt (blank: line 2)",
    ):
        assert problem in told, problem


def test_classes_without_or_with_two_lines_are_all_told(tmp_path: Path) -> None:
    labels = "n1 1 crane\nn2 2 crane\nn3 3 sand_piper\n"
    told = refusal(files(tmp_path, labels, sentences=None))
    assert "2 problem(s)" in told
    assert "class 1, 'crane': 2 rows" in told
    assert "class 2, 'red fox': 0 rows" in told


def test_directories_tell_classes_of_one_name_apart_and_names_do_not() -> None:
    directories, names = ["n1", "n2"], ["crane", "crane"]
    assert match_classes(["n2", "n1"], directories, names) == ([1, 0], [])
    rows, problems = match_classes(["crane", "crane"], ["crane"])
    assert rows == [0, -1]
    assert problems == ["class 1, 'crane': another class has the same name"]


def test_a_missing_file_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt is not a file"):
        DescriptionFilesText(labels=str(tmp_path / "nowhere.txt")).identity()
    source = files(tmp_path)
    (tmp_path / "chatgpt.txt").write_bytes(b"caf\xe9\n")
    assert "chatgpt.txt is not UTF-8" in refusal(source)


def test_a_files_content_and_not_its_place_is_its_identity(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    here, there = files(tmp_path), files(tmp_path / "moved")
    assert here.identity() == there.identity()
    (tmp_path / "chatgpt.txt").write_text(SENTENCES.replace("tall", "short"))
    assert here.identity() != there.identity()


def test_sentences_are_read_from_lines_and_from_json(tmp_path: Path) -> None:
    lines, tree = tmp_path / "said.txt", tmp_path / "said.json"
    lines.write_text("crane\tIt is tall.\nSand Piper\tIt is small.\ncrane\tIt flies.\nred fox\t It runs. \nowl\tWho?\n")
    tree.write_text(json.dumps({"crane": ["It is tall.", "It flies."], "sand_piper": "It is small.", "red_fox": ["It runs."]}))  # fmt: skip  # noqa: E501
    wanted = [("It is small.",), ("It is tall.", "It flies."), ("It runs.",)]
    for file in (lines, tree):
        source = SentencesText(file=str(file))
        assert source.texts_of_classes(class_table(), None) == wanted
        assert source.texts_of_images(material())[0] == wanted[1]


def test_bad_lines_and_bad_entries_of_sentences_are_all_told(tmp_path: Path) -> None:
    lines, tree = tmp_path / "said.txt", tmp_path / "said.json"
    lines.write_text("crane It is tall.\n\n\tIt is small.\nred fox\t\nowl\tWho?\n")
    told = refusal(SentencesText(file=str(lines)))
    assert "3 problem(s)" in told
    assert [f"line {number}:" in told for number in range(1, 6)] == [True, False, True, True, False]
    tree.write_text('{"crane": [], "owl": ["a", ""], "fox": 3, "red fox": ["It runs."]}')
    told = refusal(SentencesText(file=str(tree)))
    assert [f"'{name}':" in told for name in ("crane", "owl", "fox", "red fox")] == [True, True, True, False]
    tree.write_text("[1]")
    assert "holds a list" in refusal(SentencesText(file=str(tree)))
    tree.write_text("{")
    assert "is not JSON" in refusal(SentencesText(file=str(tree)))
    lines.write_text("crane\tIt is tall.\n")
    told = refusal(SentencesText(file=str(lines)))
    assert "class 0, 'sand_piper': 0 rows" in told
    assert "class 2, 'red fox': 0 rows" in told


def coco(images: dict[int, str], captions: list[tuple[int, int, str]]) -> dict[str, Any]:
    """Annotations in COCO's form."""
    return {
        "info": {"year": 2017},
        "images": [{"id": number, "file_name": name, "height": 1, "width": 1} for number, name in images.items()],
        "annotations": [{"id": own, "image_id": image, "caption": text} for own, image, text in captions],
    }


def test_human_captions_are_found_by_file_name_or_number_in_the_order_of_their_ids(tmp_path: Path) -> None:
    train, val = tmp_path / "captions_train2017.json", tmp_path / "captions_val2017.json"
    said = [(9, 7, "Second."), (5, 7, " First\nof all. "), (6, 8, "Other.")]
    train.write_text(json.dumps(coco({7: "1.jpg", 8: "000000000002.jpg"}, said)))
    val.write_text(json.dumps(coco({4: "000000000004.jpg", 3: "x.jpg"}, [(1, 4, "By number."), (2, 3, "  ")])))
    source = HumanCaptionsText(files=(str(train), str(val)))
    wanted = [("First of all.", "Second."), None, None, ("By number.",)]
    assert source.texts_of_images(material()) == wanted
    first = source.model_copy(update={"use": "first"})
    assert first.texts_of_images(material()) == [("First of all.",), None, None, ("By number.",)]
    assert first.identity() != source.identity()


def test_annotations_of_other_images_and_files_of_another_form_are_told(tmp_path: Path) -> None:
    file = tmp_path / "captions.json"
    source = HumanCaptionsText(files=(str(file),))
    file.write_text(json.dumps(coco({7: "other.jpg"}, [(1, 7, "A cat.")])))
    told = refusal(source)
    assert "no image of the data set has a caption there" in told
    assert "other.jpg (the data set has a/1.jpg)" in told
    file.write_text("{")
    assert "is not JSON" in refusal(source)
    file.write_text('{"images": []}')
    assert "no lists `images` and `annotations`" in refusal(source)
    tree = coco({7: "1.jpg"}, [(1, 7, "A cat."), (2, 9, "A dog.")])
    tree["images"].append({"id": "8", "file_name": "2.jpg"})
    tree["annotations"].append({"id": 3, "image_id": 7})
    file.write_text(json.dumps(tree))
    told = refusal(source)
    assert "3 problem(s)" in told
    for problem in ("images[1]: no id and", "annotations[1]: image 9 is not", "annotations[2]: no id, image_id"):
        assert problem in told, problem
