"""The OOD split: its published counts on replicas, the authors' lists, few shots, and what cannot be."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.datasets.image_folder import ImageFolderSettings
from orchestrator.datasets.ood_split import OodSplitSettings
from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.errors import DataError
from tests.tiny_datasets import picture

LISTS = ("train", "val_on_train", "val")


def listing(counts: list[int], splits: tuple[str, ...] = ("train",)) -> tuple[list[Any], list[Any]]:
    """Entries and classes; images of a class take the splits in turn. Names are not in the order of labels."""
    names = [f"{(11 * label) % len(counts):03d}.bird" for label in range(len(counts))]
    entries = [
        (f"{names[label]}/{i:04d}.jpg", splits[i % len(splits)], label, "x", 0, 1, None)
        for label, count in enumerate(counts)
        for i in range(count)
    ]
    return entries, [(label, name, f"a {name}") for label, name in enumerate(names)]


def per_split(entries: list[Any], num_seen: int) -> Counter[tuple[str, bool]]:
    """Images by split and whether their class is seen."""
    return Counter((row[1], row[2] < num_seen) for row in entries)


def write_lists(folder: Path, **lines: list[str]) -> dict[str, str]:
    """The three lists of the authors."""
    for name, paths in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(paths) + "\n")
    return {name: str(folder / f"{name}.txt") for name in lines}


@pytest.mark.parametrize(
    ("num_classes", "num_seen", "of_class", "option"),
    [(200, 100, 60, None), (196, 98, 42, None), (102, 51, 80, None), (101, 51, 1000, None), (397, 200, 100, 200)],
)
def test_the_number_of_seen_classes_is_that_of_each_published_data_set(
    num_classes: int, num_seen: int, of_class: int, option: int | None
) -> None:
    entries, classes = listing([of_class] * num_classes)
    moved, renamed, seen, _ = OodSplitSettings(num_seen=option).apply(entries, classes)
    assert seen == num_seen
    assert len(renamed) == num_classes
    train = -(-7 * of_class // 10)
    assert per_split(moved, seen) == Counter({
        ("train", True): num_seen * train,
        ("select", True): num_seen * (of_class - train),
        ("report", False): (num_classes - num_seen) * of_class,
    } if of_class - train else {})  # fmt: skip


def test_food_101_comes_out_exactly_because_all_its_classes_are_equal() -> None:
    moved, _, seen, _ = OodSplitSettings().apply(*listing([1000] * 101))
    counts = per_split(moved, seen)
    assert (counts["train", True], counts["select", True], counts["report", False]) == (35_700, 15_300, 50_000)


def test_the_training_part_of_every_class_is_rounded_up() -> None:
    counts = list(range(1, 41))
    moved, renamed, seen, _ = OodSplitSettings(seed=4).apply(*listing(counts))
    sizes = Counter(row[2] for row in moved)
    for label in range(seen):
        assert sum(row[1:3] == ("train", label) for row in moved) == -(-7 * sizes[label] // 10)
    assert sorted(sizes[label] for label in range(len(renamed))) == counts


def test_labels_are_alphabetical_among_seen_and_among_unseen_classes_and_keep_their_words() -> None:
    entries, classes = listing([3] * 20)
    moved, renamed, seen, _ = OodSplitSettings(seed=1).apply(entries, classes)
    names = [name for _, name, _ in renamed]
    assert [label for label, _, _ in renamed] == list(range(20))
    assert names[:seen] == sorted(names[:seen])
    assert names[seen:] == sorted(names[seen:])
    assert names != sorted(names)
    assert all(text == f"a {name}" for _, name, text in renamed)
    assert all(row[0].startswith(f"{names[row[2]]}/") for row in moved)


def test_the_stored_seed_alone_decides() -> None:
    entries, classes = listing([5] * 20)
    one = OodSplitSettings(seed=1).apply(entries, classes)
    again = OodSplitSettings(seed=1).apply(entries[::-1], classes)
    assert sorted(again[0]) == sorted(one[0])
    assert OodSplitSettings(seed=2).apply(entries, classes)[1] != one[1]


def test_splits_of_the_data_set_are_pooled_and_those_not_asked_for_are_left_out() -> None:
    entries, classes = listing([10] * 4, splits=("train", "report"))
    pooled, _, _, _ = OodSplitSettings().apply(entries, classes)
    assert per_split(pooled, 2) == {("train", True): 14, ("select", True): 6, ("report", False): 20}
    moved, _, _, _ = OodSplitSettings(images_of=("train",)).apply(entries, classes)
    assert per_split(moved, 2) == {("train", True): 8, ("select", True): 2, ("report", False): 10}


def test_the_first_sorted_files_of_unseen_classes_become_support_images() -> None:
    entries, classes = listing([9] * 6)
    without, _, seen, _ = OodSplitSettings(seed=2).apply(entries, classes)
    moved, _, _, _ = OodSplitSettings(seed=2, shots=5).apply(entries[::-1], classes)
    for label in range(seen, 6):
        ids = sorted(row[0] for row in without if row[2] == label)
        assert sorted(row[0] for row in moved if row[1:3] == ("train", label)) == ids[:5]
        assert sorted(row[0] for row in moved if row[1:3] == ("report", label)) == ids[5:]
    assert {row for row in moved if row[2] < seen} == {row for row in without if row[2] < seen}
    with pytest.raises(DataError, match=r"nothing is left to report of 3 unseen classes.*\(9\)"):
        OodSplitSettings(seed=2, shots=9).apply(entries, classes)


def test_validation_classes_leave_training_with_all_their_images_and_nothing_else_moves() -> None:
    names = ("ant", "bee", "cow", "dog", "eel", "fox")  # the first four are seen; of three images one is select
    classes = [(label, name, f"a {name}") for label, name in enumerate(names)]
    entries: list[Any] = [
        (f"{name}/{i}", "report" if label > 3 else ("train", "train", "select")[i], label, "x", 0, 1, None)
        for label, name in enumerate(names)
        for i in range(3)
    ]
    moved, renamed, groups = OodSplitSettings(seed=2, select_classes=2).set_apart(entries, classes, 4)
    assert groups == ClassGroups(2, 2, 6)
    assert (groups.seen, groups.validation, groups.unseen) == (range(2), range(2, 4), range(4, 6))
    assert renamed == [
        (0, "cow", "a cow"), (1, "dog", "a dog"), (2, "ant", "a ant"), (3, "bee", "a bee"), (4, "eel", "a eel"),
        (5, "fox", "a fox"),
    ]  # fmt: skip
    assert {row[0]: row[1:3] for row in moved} == {
        "ant/0": ("select", 2), "ant/1": ("select", 2), "ant/2": ("select", 2),
        "bee/0": ("select", 3), "bee/1": ("select", 3), "bee/2": ("select", 3),
        "cow/0": ("train", 0), "cow/1": ("train", 0), "cow/2": ("select", 0),
        "dog/0": ("train", 1), "dog/1": ("train", 1), "dog/2": ("select", 1),
        "eel/0": ("report", 4), "eel/1": ("report", 4), "eel/2": ("report", 4),
        "fox/0": ("report", 5), "fox/1": ("report", 5), "fox/2": ("report", 5),
    }  # fmt: skip
    assert [row[0] for row in moved] == [row[0] for row in entries]
    others = OodSplitSettings(seed=0, select_classes=2).set_apart(entries, classes, 4)
    assert [name for _, name, _ in others[1]] == ["bee", "dog", "ant", "cow", "eel", "fox"]


def test_without_validation_classes_a_split_and_its_settings_are_what_they_were() -> None:
    entries, classes = listing([9] * 6)
    moved, renamed, seen, _ = OodSplitSettings(seed=2).apply(entries, classes)
    assert OodSplitSettings(seed=2).set_apart(moved, renamed, seen) == (moved, renamed, ClassGroups(3, 0, 6))
    known = {"seed": 2, "train_fraction": 0.7, "num_seen": None, "images_of": ["train", "select", "report"],
             "lists": None, "shots": 0}  # fmt: skip
    assert OodSplitSettings(seed=2, select_classes=0).model_dump(mode="json") == known
    chosen = OodSplitSettings(seed=2, select_classes=2)
    assert chosen.model_dump(mode="json") == {**known, "select_classes": 2}
    assert OodSplitSettings.model_validate(chosen.model_dump(mode="json")) == chosen


def test_an_index_says_which_classes_are_for_validation_and_thins_the_others(tmp_path: Path) -> None:
    settings = {"num_classes": 6, "max_count": 7, "imbalance_ratio": 1, "num_select_per_class": 1,
                "num_report_per_class": 2, "ood_split": {"seed": 2, "num_seen": 4}}  # fmt: skip
    plain = ShapesSettings.model_validate(settings).index(tmp_path)
    settings["ood_split"] = {"seed": 2, "num_seen": 4, "select_classes": 2}
    tailed = ShapesSettings.model_validate({**settings, "long_tail": {"imbalance": 7}}).index(tmp_path)
    assert plain.classes.column_names == ["label", "name", "description", "seen"]
    assert tailed.classes["seen"].to_pylist() == [True, True, False, False, False, False]
    assert tailed.classes["validation"].to_pylist() == [False, False, True, True, False, False]
    assert tailed.class_groups() == ClassGroups(2, 2, 6)
    assert (plain.class_counts("train"), plain.class_counts("select")) == ((7, 7, 7, 7, 0, 0), (3, 3, 3, 3, 0, 0))
    assert tailed.class_counts("train") == (7, 1, 0, 0, 0, 0)
    assert tailed.class_counts("select") == (3, 3, 10, 10, 0, 0)
    assert plain.class_counts("report") == tailed.class_counts("report") == (0, 0, 0, 0, 10, 10)
    names = tailed.classes["name"].to_pylist()
    assert names[4:] == plain.classes["name"].to_pylist()[4:]


def test_the_published_counts_are_those_of_the_split_before_validation_classes_leave_it(tmp_path: Path) -> None:
    for shade in range(8):
        picture(tmp_path / "images" / ("ant", "bee", "cow", "dog")[shade // 2] / f"{shade % 2}.jpg", shade)
    told = [
        ImageFolderSettings.model_validate(
            {"root": str(tmp_path / "images"), "published": "cub_200_2011", "ood_split": {"num_seen": 3} | more}
        ).index(tmp_path).notes
        for more in ({}, {"select_classes": 2})
    ]  # fmt: skip
    assert told[0] == told[1] != ()


def test_validation_classes_that_cannot_be_are_refused_all_problems_at_once() -> None:
    with pytest.raises(ValidationError, match="images of one class cannot be told apart"):
        OodSplitSettings(select_classes=1)
    with pytest.raises(ValidationError) as error:
        OodSplitSettings(num_seen=3, select_classes=3, shots=5, images_of=())
    for told in ("images_of must name", "below num_seen, 3", "give either shots or select_classes"):
        assert told in str(error.value)
    entries, classes = listing([4] * 6)
    with pytest.raises(DataError, match="3 of 3 seen classes for validation"):
        OodSplitSettings(select_classes=3).set_apart(*OodSplitSettings().apply(entries, classes)[:3])


def test_one_class_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 seen of 1 classes"):
        OodSplitSettings().apply(*listing([4]))
    with pytest.raises(DataError, match="4 seen of 4 classes"):
        OodSplitSettings(num_seen=4).apply(*listing([4] * 4))


def test_the_authors_lists_decide_wherever_the_images_lie(tmp_path: Path) -> None:
    for shade in range(16):
        picture(tmp_path / "images" / ("ant", "bee", "cow", "dog")[shade // 4] / f"{shade % 4}.jpg", shade)
    lists = write_lists(
        tmp_path,
        train=["train/bee/0.jpg", "train/bee/1.jpg", "train/dog/3.jpg"],
        val_on_train=["val_on_train/bee/2.jpg", "", "val_on_train/dog/0.jpg"],
        val=["val/ant/0.jpg", "val/ant/1.jpg", "val/ant/2.jpg"],
    )
    options = {"ood_split": {"lists": lists, "shots": 1}}
    settings = ImageFolderSettings.model_validate({"root": str(tmp_path / "images"), **options})
    index = settings.index(tmp_path)
    assert index.classes["name"].to_pylist() == ["bee", "dog", "ant"]
    assert index.classes["seen"].to_pylist() == [True, True, False]
    assert index.class_groups() == ClassGroups(2, 0, 3)
    assert {row["image_id"]: (row["split"], row["label"]) for row in index.images.to_pylist()} == {
        "bee/0.jpg": ("train", 0),
        "bee/1.jpg": ("train", 0),
        "dog/3.jpg": ("train", 1),
        "bee/2.jpg": ("select", 0),
        "dog/0.jpg": ("select", 1),
        "ant/0.jpg": ("train", 2),
        "ant/1.jpg": ("report", 2),
        "ant/2.jpg": ("report", 2),
    }
    assert index.notes == ("ood_split: 8 images stand in no list and are left out",)
    before = settings.stamp()
    write_lists(tmp_path, val=["val/ant/0.jpg", "val/ant/3.jpg"])
    assert settings.stamp() != before


def test_all_bad_lines_of_the_lists_are_told_at_once(tmp_path: Path) -> None:
    entries, classes = listing([3] * 3)
    name = {label: name for label, name, _ in classes}
    entries.append((f"other/{name[0]}/0000.jpg", "train", 0, "x", 0, 1, None))
    lists = write_lists(
        tmp_path,
        train=[f"train/{name[0]}/0001.jpg", f"train/{name[0]}/0001.jpg", "train/../../secret", "lonely.jpg"],
        val_on_train=[f"val_on_train/{name[1]}/0000.jpg", f"val_on_train/{name[0]}/0000.jpg"],
        val=[f"val/{name[1]}/0001.jpg", f"val/{name[2]}/0001.jpg"],
    )
    with pytest.raises(DataError) as caught:
        OodSplitSettings.model_validate({"lists": lists}).apply(entries, classes)
    text = str(caught.value)
    assert "5 problem(s)" in text
    assert "train.txt line 2: " in text
    assert "already listed at train.txt line 1" in text
    assert "train.txt line 3: train/../../secret is no image of the data set" in text
    assert "train.txt line 4: 'lonely.jpg' is not `split/class folder/file`" in text
    assert "val_on_train.txt line 2" in text
    assert "is 2 images" in text
    assert "a class is seen at val_on_train.txt line 1 and unseen at val.txt line 1" in text


def test_lists_must_be_three_and_exist_and_name_both_sides(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="train, val_on_train, val"):
        OodSplitSettings.model_validate({"lists": {"train": "x"}})
    with pytest.raises(ValidationError, match="either lists or num_seen"):
        OodSplitSettings.model_validate({"lists": dict.fromkeys(LISTS, "x"), "num_seen": 3})
    with pytest.raises(DataError, match=r"3 problem\(s\)"):
        OodSplitSettings.model_validate({"lists": {n: str(tmp_path / "no") for n in LISTS}}).apply(*listing([3] * 3))
    entries, classes = listing([3] * 3)
    lists = write_lists(tmp_path, train=[f"train/{classes[0][1]}/0001.jpg"], val_on_train=[], val=[])
    with pytest.raises(DataError, match="the lists name 1 images"):
        OodSplitSettings.model_validate({"lists": lists}).apply(entries, classes)


def test_a_long_tail_thins_the_seen_classes_and_spares_the_support_images(tmp_path: Path) -> None:
    world = ShapesSettings(
        num_classes=6, max_count=10, imbalance_ratio=1, num_select_per_class=2, num_report_per_class=8
    )
    options = {"ood_split": {"seed": 1, "shots": 5}, "long_tail": {"imbalance": 7}}
    index = ShapesSettings.model_validate(world.model_dump() | options).index(tmp_path)
    assert index.class_counts("train") == (14, 5, 2, 5, 5, 5)
    assert index.class_counts("select") == (6, 6, 6, 0, 0, 0)
    assert index.class_counts("report") == (0, 0, 0, 15, 15, 15)


def test_in_the_embedded_world_names_descriptions_and_captions_go_with_their_images(tmp_path: Path) -> None:
    world = ShapesSettings(
        num_classes=8, max_count=4, imbalance_ratio=1, num_select_per_class=1, num_report_per_class=2
    )
    assert world.train_counts() == (4,) * 8
    index = ShapesSettings.model_validate(world.model_dump() | {"ood_split": {}}).index(tmp_path)
    definitions = dict(zip((name for name in world.index(tmp_path).classes["name"].to_pylist()),
                           (each.describe() for each in world.definitions()), strict=True))  # fmt: skip
    rows = index.classes.to_pylist()
    assert {row["name"]: row["description"] for row in rows} == definitions
    captions = {row["image_id"]: row["oracle_caption"] for row in world.index(tmp_path).images.to_pylist()}
    for row in index.images.to_pylist():
        assert row["image_id"].split("/")[1] == rows[row["label"]]["name"]
        assert row["oracle_caption"] == captions[row["image_id"]]
