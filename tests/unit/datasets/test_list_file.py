"""List files: folders and tar archives, every kind of bad line, and the real long-tailed list where it is at hand."""

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from orchestrator.datasets.index import read_image_bytes
from orchestrator.datasets.list_file import ListFileSettings
from orchestrator.datasets.long_tail import LongTailSettings
from orchestrator.datasets.ood_split import OodSplitSettings
from orchestrator.errors import DataError
from orchestrator.vocabulary import FEW_BELOW, MANY_ABOVE


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_lists(folder: Path, **lists: str) -> dict[str, str]:
    for split, text in lists.items():
        (folder / f"{split}.txt").write_text(text)
    return {split: str(folder / f"{split}.txt") for split in lists}


def test_folders_and_tar_files_are_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "images" / "a b").mkdir(parents=True)
    (tmp_path / "images" / "a b" / "0.png").write_bytes(png(1))
    write_tar(tmp_path / "more.tar", {"./val/1.png": png(2), "train/2.png": png(3)})
    lists = write_lists(tmp_path, train="a b/0.png 0\r\n\ntrain/2.png 1\n", report="val/1.png\t1\n")
    roots = [str(tmp_path / "images"), str(tmp_path / "more.tar")]
    index = ListFileSettings.model_validate({"lists": lists, "root": roots}).index(tmp_path)
    rows = {row["image_id"]: row for row in index.images.to_pylist()}
    assert {name: (row["split"], row["label"]) for name, row in rows.items()} == {
        "a b/0.png": ("train", 0),
        "train/2.png": ("train", 1),
        "val/1.png": ("report", 1),
    }
    member = rows["val/1.png"]
    assert member["path"] == str(tmp_path / "more.tar")
    assert read_image_bytes(member["path"], member["offset"], member["size"]) == png(2)
    assert index.classes.column("name").to_pylist() == ["class 0", "class 1"]


def test_relative_settings_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "t.tar", {"0.png": png(1)})
    write_lists(tmp_path, train="0.png 0\n")
    monkeypatch.chdir(tmp_path)
    index = ListFileSettings(lists={"train": "train.txt"}, root="t.tar").index(tmp_path)
    assert index.images.column("path").to_pylist() == [str((tmp_path / "t.tar").resolve())]


def test_one_root_folder_carries_lists_names_and_archives_wherever_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_tar(folder / "a.tar", {"0.png": png(1)})
    write_tar(folder / "b.tar", {"1.png": png(2)})
    (folder / "train.txt").write_text("0.png 0\n1.png 1\n")
    (folder / "names.tsv").write_text("0\tn01\tcat\t1\n1\tn02\tdog\t1\n")
    settings = ListFileSettings(
        root=str(folder), lists={"train": "train.txt"}, archives=("a.tar", "b.tar"), class_names="names.tsv"
    )
    index = settings.index(tmp_path)
    assert index.images.column("path").to_pylist() == [str(folder / "a.tar"), str(folder / "b.tar")]
    assert index.classes.column("name").to_pylist() == ["cat", "dog"]
    before = settings.stamp()
    (folder / "train.txt").write_text("0.png 0\n")
    assert settings.stamp() != before
    with pytest.raises(ValidationError, match="one root folder"):
        ListFileSettings(root=("a", "b"), lists={"train": "train.txt"}, archives=("a.tar",))


def test_all_bad_lines_are_named_with_their_numbers_and_the_total(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(1))
    text = "0.png 0\n0.png 0\nnolabel\n/etc/passwd 0\n../secret.png 0\nx/../../y.png 0\n1.png -1\ngone.png 0\n"
    lists = write_lists(tmp_path, train=text, select="0.png 7\n" + "".join(f"gone{i}.png 0\n" for i in range(20)))
    with pytest.raises(DataError) as caught:
        ListFileSettings.model_validate({"lists": lists, "root": str(tmp_path)}).index(tmp_path)
    text = str(caught.value)
    assert "28 problem(s)" in text
    assert "... and 18 more" in text
    assert "train.txt line 3: 'nolabel' is not" in text
    assert "train.txt line 4: '/etc/passwd' leaves the root" in text
    assert "train.txt line 5: '../secret.png' leaves the root" in text
    assert "train.txt line 6" in text
    assert "train.txt line 7" in text
    assert "train.txt line 2: 0.png is already listed at train.txt line 1" in text
    assert "train.txt line 8: gone.png is missing" in text


def test_an_image_in_two_splits_or_two_roots_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"0.png": png(1), "1.png": png(1)})
    write_tar(tmp_path / "b.tar", {"1.png": png(2)})
    lists = write_lists(tmp_path, train="0.png 0\n1.png 0\n", report="0.png 0\n")
    roots = [str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]
    with pytest.raises(DataError) as caught:
        ListFileSettings.model_validate({"lists": lists, "root": roots}).index(tmp_path)
    assert "1.png is in more than one root" in str(caught.value)
    assert "report.txt line 1: 0.png is already listed at train.txt line 1" in str(caught.value)


def test_links_and_escaping_members_of_a_tar_are_not_addressable(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../secret.png"
        archive.addfile(link)
        escaping = tarfile.TarInfo("../up.png")
        escaping.size = len(png(1))
        archive.addfile(escaping, io.BytesIO(png(1)))
    lists = write_lists(tmp_path, train="link.png 0\nup.png 0\n")
    with pytest.raises(DataError) as caught:
        ListFileSettings.model_validate({"lists": lists, "root": str(tmp_path / "t.tar")}).index(tmp_path)
    assert "link.png is missing" in str(caught.value)
    assert "up.png is missing" in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "compressed", "no_tar"])
def test_damaged_archives_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.tar"
    write_tar(path, {"0.png": png(1), "1.png": bytes(5000)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "compressed":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(__file__, "0.png")
    else:
        path.write_bytes(b"hello" * 400)
    lists = write_lists(tmp_path, train="0.png 0\n")
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        ListFileSettings.model_validate({"lists": lists, "root": str(path)}).index(tmp_path)


def test_missing_lists_and_roots_are_named_together(tmp_path: Path) -> None:
    settings = ListFileSettings(lists={"train": str(tmp_path / "no.txt")}, root=str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as caught:
        settings.index(tmp_path)
    assert "2 problem(s)" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "label\twordnet_id\tnames\tcount\n1\tn2\treel\t5\n0\tn1\tbullfrog, Rana catesbeiana\t9\n",
        "0\tn1\tbullfrog, Rana catesbeiana\t9\n1\tn2\treel\t5\n",
        "0\tbullfrog\n1\treel\n",
        "class\tname\tdescription\n0\tbullfrog\ta frog\n1\treel\t\n",
    ],
)
def test_class_names_come_with_and_without_a_header(tmp_path: Path, text: str) -> None:
    write_tar(tmp_path / "t.tar", {"0.png": png(1)})
    (tmp_path / "classes.tsv").write_text(text)
    lists = write_lists(tmp_path, train="0.png 0\n")
    settings = {"lists": lists, "root": str(tmp_path / "t.tar"), "class_names": str(tmp_path / "classes.tsv")}
    classes = ListFileSettings.model_validate(settings).index(tmp_path).classes
    assert classes.column("name").to_pylist() == ["bullfrog", "reel"]
    assert classes.column("description").to_pylist() == (["a frog", None] if "description" in text else [None, None])


@pytest.mark.parametrize("text", ["", "0\ta\n0\tb\n", "0\ta\n2\tb\n", "0\ta\nx\tb\n", "one column\n"])
def test_bad_class_names_are_refused(tmp_path: Path, text: str) -> None:
    write_tar(tmp_path / "t.tar", {"0.png": png(1)})
    (tmp_path / "classes.tsv").write_text(text)
    lists = write_lists(tmp_path, train="0.png 0\n")
    settings = {"lists": lists, "root": str(tmp_path / "t.tar"), "class_names": str(tmp_path / "classes.tsv")}
    with pytest.raises(DataError, match=r"classes\.tsv"):
        ListFileSettings.model_validate(settings).index(tmp_path)


def test_a_label_without_a_class_name_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", {"0.png": png(1)})
    (tmp_path / "classes.tsv").write_text("0\ta\n1\tb\n")
    lists = write_lists(tmp_path, train="0.png 2\n")
    settings = {"lists": lists, "root": str(tmp_path / "t.tar"), "class_names": str(tmp_path / "classes.tsv")}
    with pytest.raises(DataError, match=r"label 2 is outside 0\.\.1"):
        ListFileSettings.model_validate(settings).index(tmp_path)


def test_files_in_another_encoding_are_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(1))
    (tmp_path / "train.txt").write_bytes("0.png 0\ncafé.png 0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.txt is not UTF-8"):
        ListFileSettings(lists={"train": "train.txt"}, root=str(tmp_path)).index(tmp_path)


def test_a_split_of_classes_and_a_long_tail_of_real_lists_have_the_counts_of_their_rules(
    tmp_path: Path, shared_materials: Path
) -> None:
    tiny = shared_materials / "data" / "tiny-imagenet-lt"
    if not tiny.is_dir():
        pytest.skip(f"no long-tailed Tiny ImageNet at {tiny}")
    settings = ListFileSettings(
        root=str(tiny), archives=("train-0.tar", "train-1.tar", "train-2.tar", "val.tar"), class_names="classes.tsv",
        lists={"train": "train.txt", "select": "val_select.txt", "report": "val_report.txt"},
    )  # fmt: skip
    listed = settings.listing(tmp_path)
    moved, classes, seen, told = OodSplitSettings(seed=3, shots=5).apply(listed.entries, listed.classes)
    assert (seen, len(classes), told) == (100, 200, [])
    per_class = Counter(row[2] for row in moved)
    counts = Counter((row[1], row[2] < seen) for row in moved)
    assert counts["train", True] == sum(-(-7 * per_class[label] // 10) for label in range(seen))
    assert counts["train", True] + counts["select", True] == sum(per_class[label] for label in range(seen))
    assert (counts["train", False], counts["select", False], counts["report", True]) == (500, 0, 0)
    assert counts["report", False] == sum(per_class[label] for label in range(seen, 200)) - 500
    assert counts.total() == 26_645
    tail = LongTailSettings(imbalance=10, max_per_class=20)
    thinned, _ = tail.apply(moved, classes[:seen])
    found = Counter(row[2] for row in thinned if row[1] == "train" and row[2] < seen)
    train = Counter(row[2] for row in moved if row[1] == "train")
    wanted = tail.counts(100, 20)
    assert [found[label] for label in range(seen)] == [min(wanted[c], train[c]) for c in range(100)]


def test_the_long_tailed_tiny_imagenet_has_its_documented_counts(tmp_path: Path, shared_materials: Path) -> None:
    tiny = shared_materials / "data" / "tiny-imagenet-lt"
    if not tiny.is_dir():
        pytest.skip(f"no long-tailed Tiny ImageNet at {tiny}")
    settings = ListFileSettings(
        lists={split: str(tiny / f"{name}.txt") for split, name in
               {"train": "train", "select": "val_select", "report": "val_report"}.items()},
        root=tuple(str(tiny / f"{name}.tar") for name in ("train-0", "train-1", "train-2", "val")),
        class_names=str(tiny / "classes.tsv"),
    )  # fmt: skip
    index = settings.index(tmp_path)
    assert index.quarantine.num_rows == 0
    assert [sum(index.class_counts(split)) for split in ("train", "select", "report")] == [21_645, 2_000, 3_000]
    counts = index.class_counts("train")
    many, few = sum(n > MANY_ABOVE for n in counts), sum(n < FEW_BELOW for n in counts)
    assert (many, len(counts) - many - few, few) == (70, 71, 59)
    assert (max(counts), min(counts)) == (500, 5)
    assert index.classes.column("name").to_pylist()[0] == "Egyptian cat"
