"""Tiny ImageNet-200 as it is unpacked: folders of WordNet ids and a list for the validation images. Source: methods 8.

Holds the settings of the kind `tiny_imagenet`. Reads the lists, folder listings and sizes; writes nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.datasets.paths import Lookup, folder_lookup
from orchestrator.datasets.source import Listing, SelectFromTrain
from orchestrator.datasets.text_files import read_lines
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

_LISTS = ("wnids.txt", "words.txt", "val/val_annotations.txt")


class TinyImageNetSettings(SelectFromTrain):
    """`root/train/{wnid}/images/*.JPEG`, `root/val/images/*` with `val_annotations.txt`, `wnids.txt`, `words.txt`.

    Labels are the places of the WordNet ids in alphabetical order, as for folders; names are the first name of each
    in `words.txt`. The validation images are the report split (the test images have no published labels);
    `select_fraction` sets a part of train aside. Image ids are paths relative to `root`.
    """

    kind: Literal["tiny_imagenet"] = "tiny_imagenet"
    root: str

    def listing_stamp(self) -> str:
        """See `DatasetSource`."""
        from orchestrator.datasets.stamp import stamp_files

        root = Path(self.root).resolve()
        return stamp_files([root / "wnids.txt", root / "words.txt", root / "train", root / "val"])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`."""
        from orchestrator.datasets.index import raise_problems

        root = Path(self.root).resolve()
        absent = [f"{root / name} is not a file" for name in _LISTS if not (root / name).is_file()]
        raise_problems(absent, what="Tiny ImageNet", remedy="unpack the archive, and set dataset.root to its folder")
        problems: list[str] = []
        wnids = _lines(root / "wnids.txt")
        problems += [f"wnids.txt: {wnid} stands there twice" for wnid in {w for w in wnids if wnids.count(w) > 1}]
        labels = {wnid: label for label, wnid in enumerate(sorted(set(wnids)))}
        names = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
        problems += [f"words.txt: no name for {wnid}" for wnid in labels if not names.get(wnid, "").strip()]
        entries = _train(root, labels, problems) + _val(root, labels, problems)
        raise_problems(problems, what="Tiny ImageNet", remedy="unpack the archive again")
        classes = [(label, names[wnid].split(",")[0].strip(), None) for wnid, label in labels.items()]
        if not labels:
            raise DataError(f"{root / 'wnids.txt'} is empty", expected="one WordNet id a line")
        return self.with_select(Listing(entries, list(classes)))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path) if line.strip()]


def _train(root: Path, labels: dict[str, int], problems: list[str]) -> "list[ImageEntry]":
    entries: list[ImageEntry] = []
    lookup = folder_lookup(root / "train")
    for wnid, label in labels.items():
        folder = root / "train" / wnid / "images"
        names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        names = [name for name in names if name.lower().endswith((".jpeg", ".jpg"))]
        if not names:
            problems.append(f"train/{wnid}/images holds no .JPEG")
        for name in names:
            _add(f"train/{wnid}/images/{name}", SPLIT_TRAIN, label, lookup, entries, problems)
    return entries


def _val(root: Path, labels: dict[str, int], problems: list[str]) -> "list[ImageEntry]":
    entries: list[ImageEntry] = []
    lookup = folder_lookup(root / "val")
    first_seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(root / _LISTS[2]), start=1):
        cells = line.split("\t")
        where = f"val_annotations.txt line {number}"
        if not line.strip():
            continue
        if len(cells) < 2 or cells[1] not in labels or "/" in cells[0]:
            problems.append(f"{where}: {line[:60]!r} is not `file, tab, WordNet id of wnids.txt, tab, box`")
        elif cells[0] in first_seen:
            problems.append(f"{where}: {cells[0]} is already listed at line {first_seen[cells[0]]}")
        else:
            first_seen[cells[0]] = number
            _add(f"val/images/{cells[0]}", SPLIT_REPORT, labels[cells[1]], lookup, entries, problems, f"{where}: ")
    return entries


def _add(
    image_id: str,
    split: str,
    label: int,
    lookup: Lookup,
    entries: "list[ImageEntry]",
    problems: list[str],
    where: str = "",
) -> None:
    try:
        address = lookup(image_id.partition("/")[2])
    except DataError as error:
        problems.append(where + error.wrong)
        return
    if address is None:
        problems.append(f"{where}{image_id} is missing")
    else:
        entries.append((image_id, split, label, *address, None))
