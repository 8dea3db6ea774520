"""A first look at a folder of the user's images: layout, classes, counts, sizes, and what may surprise.

Reads names of files and the headers of a few images; changes nothing. Knows nothing of experiments.
"""

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from orchestrator.datasets.image_folder import ImageFolderSettings
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN

EXTENSIONS: tuple[str, ...] = ImageFolderSettings.model_fields["extensions"].default
SPLIT_WORDS = {
    SPLIT_TRAIN: ("train", "training"),
    SPLIT_SELECT: ("select", "val", "valid", "validation", "dev"),
    SPLIT_REPORT: ("report", "test", "testing", "eval", "evaluation"),
}
NUM_OPENED = 200  # images whose header is read
MAX_NAMED = 3
DRAFTED_REPORT_FRACTION, MANY_ENOUGH = 0.2, 200  # fewer images in the report split are worth a word

Layout = Literal["classes", "splits"]


@dataclass(frozen=True)
class FirstLook:
    """What was found.

    Attributes:
        folders: split -> its folder below the root; empty where the classes lie in the root.
        counts: split -> class -> number of images; the split is "" where there are no folders of splits.
        sides: (width, height) of some images.
        told: what may surprise, one line each, in the order of importance.
        empty: classes without an image in some split.
    """

    root: Path
    folders: dict[str, str]
    counts: dict[str, dict[str, int]]
    sides: list[tuple[int, int]]
    told: list[str] = field(default_factory=list)
    empty: tuple[str, ...] = ()

    @property
    def classes(self) -> dict[str, int]:
        """Classes with images to train on, and how many."""
        counts = self.counts[SPLIT_TRAIN if self.folders else ""]
        return {name: number for name, number in counts.items() if number}

    @property
    def num_images(self) -> int:
        """Of all splits."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def median_side(self) -> int:
        """Of the shorter sides, pixels; 0 where no image could be opened."""
        shorter = sorted(min(side) for side in self.sides)
        return shorter[len(shorter) // 2] if shorter else 0


def look(root: Path) -> FirstLook:
    """Look at a folder of images.

    Raises:
        DataError: it is no folder, or there are no folders of classes with images in it.
    """
    if not root.is_dir():
        beside = (
            sorted(path.name for path in root.parent.iterdir() if path.is_dir())[:8] if root.parent.is_dir() else []
        )
        raise DataError(f"{root} is not a folder", expected=", ".join(beside) or "a folder of images")
    folders = _split_folders(root)
    places = {split: root / name for split, name in folders.items()} or {"": root}
    images = {split: {name: list(_images(folder / name)) for name in _folders(folder)}
              for split, folder in places.items()}  # fmt: skip
    counts = {split: {name: len(paths) for name, paths in classes.items()} for split, classes in images.items()}
    if not any(number for number in counts[SPLIT_TRAIN if folders else ""].values()):
        raise _nothing_to_train_on(root, places)
    every = [path for classes in images.values() for paths in classes.values() for path in paths]
    sides, unreadable = _sides(every)
    train = counts[SPLIT_TRAIN if folders else ""]
    empty = sorted({name for classes in counts.values() for name, number in classes.items() if not number})
    named = [name for name, number in train.items() if number]
    told = [
        *_told_of_classes(counts, train, empty),
        *_told_of_files(root, places, every),
        *_told_of_names(every, named),
    ]
    if unreadable:
        told.append(f"{len(unreadable)} of {len(sides) + len(unreadable)} opened images cannot be read and will be "
                    f"quarantined: {_some(unreadable)}")  # fmt: skip
    return FirstLook(root, folders, counts, sides, told, tuple(empty))


def _split_folders(root: Path) -> dict[str, str]:
    """Split -> folder, where the root holds a training folder with folders in it."""
    there = {name.lower(): name for name in _folders(root)}
    found = {split: there[word] for split, words in SPLIT_WORDS.items() for word in reversed(words) if word in there}
    return found if SPLIT_TRAIN in found and _folders(root / found[SPLIT_TRAIN]) else {}


def _nothing_to_train_on(root: Path, places: Mapping[str, Path]) -> DataError:
    loose = sum(1 for folder in places.values() for path in folder.iterdir() if _is_image(path))
    lists = sorted(path.name for path in root.glob("*.txt"))
    if loose:
        return DataError(
            f"{root} holds {loose:,} images and no folder of a class",
            expected="a folder for each class: FOLDER/CLASS/image.jpg, or FOLDER/train/CLASS/image.jpg",
            remedy="sort them into folders, or write lists of `path label` (kind list_file, docs/datasets.md)"
            + (f"; {lists[0]} lies there" if lists else ""),
        )  # fmt: skip
    return DataError(
        f"{root} holds no image in folders of classes ({', '.join(EXTENSIONS)})",
        expected="a folder for each class: FOLDER/CLASS/image.jpg, or FOLDER/train/CLASS/image.jpg",
        remedy="give the folder above the classes; other layouts (lists, tars, Parquet): docs/datasets.md",
    )


def _told_of_classes(
    counts: Mapping[str, Mapping[str, int]], train: Mapping[str, int], empty: list[str]
) -> Iterator[str]:
    if empty:
        yield f"{_of(empty, 'class', 'classes')} without an image, left out: {_some(empty)}"
    for split, classes in counts.items():
        unknown = sorted(name for name, number in classes.items() if number and not train.get(name))
        if unknown:
            yield f"{split} has {_of(unknown, 'class', 'classes')} that train has not, an error later: {_some(unknown)}"
    rare = sorted((number, name) for name, number in train.items() if 0 < number < 5)
    if rare:
        named = _some([f"{name} ({number})" for number, name in rare])
        yield f"{_of(rare, 'class', 'classes')} with fewer than 5 images to train on: {named}"
    report = sum(counts.get(SPLIT_REPORT, {}).values()) or int(sum(train.values()) * DRAFTED_REPORT_FRACTION)
    if report < MANY_ENOUGH:
        yield f"results will rest on about {report} images: one image is {100 / max(1, report):.0f} points of accuracy"
    if sum(1 for number in train.values() if number) == 1:
        yield "there is a single class: nothing to tell apart"


def _told_of_files(root: Path, places: Mapping[str, Path], images: list[Path]) -> Iterator[str]:
    taken = set(images)
    other: list[str] = []
    loose: list[str] = []
    for parent, _, names in os.walk(root):
        for name in names:
            path = Path(parent, name)
            if path in taken or name.startswith("."):
                continue
            (loose if _is_image(path) else other).append(path.relative_to(root).as_posix())
    if loose:
        yield f"{_of(loose, 'image', 'images')} in no folder of a class, left out: {_some(loose)}"
    if other:
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in other)
        named = ", ".join(f"{number} {suffix}" for suffix, number in kinds.most_common(4))
        yield f"{_of(other, 'file', 'files')} not of an image, left out ({named}): {_some(sorted(other))}"


def _told_of_names(images: list[Path], classes: list[str]) -> Iterator[str]:
    """Awkward names; none of them is a problem, but who sees them in a list should not wonder."""
    capitals = [path.name for path in images if path.suffix != path.suffix.lower()]
    if capitals:
        yield f"{_of(capitals, 'file name', 'file names')} that end in capitals (no matter): {_some(capitals)}"
    blanks = [name for name in classes if " " in name or "_" in name]
    if blanks:
        yield f"{_of(blanks, 'class name', 'class names')} with blanks or underscores, kept in texts: {_some(blanks)}"
    foreign = [name for name in classes if not name.isascii()]
    if foreign:
        yield f"{_of(foreign, 'class name', 'class names')} not ASCII, which few text encoders know: {_some(foreign)}"
    forms: dict[str, list[str]] = {}
    for name in classes:
        forms.setdefault(unicodedata.normalize("NFC", name).casefold().strip(), []).append(name)
    for same in forms.values():
        if len(same) > 1:
            yield f"classes that differ only in capitals, blanks or accents' encoding: {', '.join(map(repr, same))}"


def _sides(images: list[Path]) -> tuple[list[tuple[int, int]], list[str]]:
    """Sizes of images spread evenly over all, by their headers, and the names of those that cannot be read."""
    sides, unreadable = [], []
    for path in images[:: max(1, len(images) // NUM_OPENED)]:
        try:
            with warnings.catch_warnings(), Image.open(path) as image:
                warnings.simplefilter("ignore")
                sides.append(image.size)
        except (OSError, ValueError, Image.DecompressionBombError):
            unreadable.append(path.name)
    return sides, unreadable


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names) if _is_image(Path(parent, name)))


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in EXTENSIONS


def _of(things: Sequence[object], one: str, many: str) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
