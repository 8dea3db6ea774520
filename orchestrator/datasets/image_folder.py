"""Image folders: one folder per class, either inside one folder per split or split here by a stored seed.

Holds the settings of the kind `image_folder`. Reads folder listings and, through the index, the images; writes nothing.
Knows nothing of lists or archives.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.datasets.draws import floor_of, ranked
from orchestrator.datasets.paths import folder_lookup, leaves_root
from orchestrator.datasets.source import DatasetSource, Listing
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry


class ImageFolderSettings(DatasetSource):
    """`root/{folder of the split}/{class}/**/image`, or `root/{class}/**/image` with fractions.

    Classes are the class folders of the training split in alphabetical order. Without `folders`, each class is split by
    itself: floor(n * report_fraction) images go to report, floor(n * select_fraction) to select, the rest to train,
    chosen by `split_seed` and the image's id only. Image ids are paths relative to `root`. `empty_classes`: folders
    without an image are an error, since they are most often a mistake, or are left out and told. Links below the root
    must stay in it, but for `follow_links`.
    """

    kind: Literal["image_folder"] = "image_folder"
    root: str
    folders: dict[Literal["train", "select", "report"], str] | None = None
    select_fraction: float = Field(default=0.0, ge=0, lt=1)
    report_fraction: float = Field(default=0.0, ge=0, lt=1)
    split_seed: int = 0
    empty_classes: Literal["refuse", "leave_out"] = "refuse"
    follow_links: bool = False
    extensions: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

    @field_validator("extensions")
    @classmethod
    def _dotted_lower_case(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        if not extensions or any(not extension.startswith(".") for extension in extensions):
            raise ValueError("extensions must be given with their dot, for example .jpg")
        return tuple(extension.lower() for extension in extensions)

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        fractions = self.select_fraction + self.report_fraction
        if self.folders is not None and fractions > 0:
            raise ValueError("give either folders or select_fraction and report_fraction, not both")
        if self.folders is not None and SPLIT_TRAIN not in self.folders:
            raise ValueError("folders must name the folder of the train split")
        if fractions >= 1:
            raise ValueError(f"select_fraction + report_fraction is {fractions}; nothing would be left to train on")
        return self

    def listing_stamp(self) -> str:
        """See `DatasetSource`: digest of the names, sizes and times of all files below the root."""
        from orchestrator.datasets.stamp import stamp_files

        return stamp_files([Path(self.root).resolve()])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. DataError when folders or classes are missing or empty."""
        from orchestrator.datasets.index import raise_problems

        root = Path(self.root).resolve()
        folders: dict[str, str] = {str(split): name for split, name in (self.folders or {}).items()} or {"": ""}
        missing = [f"{name!r} leaves the root (absolute, or with ..)" for name in folders.values() if leaves_root(name)]
        missing += [f"{root / folder} is not a folder" for folder in folders.values() if not (root / folder).is_dir()]
        raise_problems(missing, what="the image folders", remedy="set dataset.root and dataset.folders")
        train_folder = root / folders.get(SPLIT_TRAIN, "")
        names, notes = _class_folders(train_folder), []
        if self.empty_classes == "leave_out":
            left_out = [name for name in names if not _images_below(train_folder / name, self.extensions)]
            names = [name for name in names if name not in left_out]
            notes = [f"left out, because there is no image in their folders: {', '.join(left_out)}"]
            notes = notes if left_out else []
        labels = {name: label for label, name in enumerate(names)}
        if not labels:
            raise DataError(f"{train_folder} holds no folder", expected="one folder of images for each class")
        problems: list[str] = []
        entries: list[ImageEntry] = []
        for split, folder in folders.items():
            entries += self._entries_of_folder(root, split, folder, labels, problems)
        raise_problems(
            problems,
            what="the image folders",
            remedy="remove the folder, or fill it with images; empty_classes: leave_out leaves empty ones out; "
            "follow_links: true follows links that you trust",
        )
        return Listing(entries, [(label, name, None) for name, label in labels.items()], tuple(notes))

    def _entries_of_folder(
        self, root: Path, split: str, folder: str, labels: dict[str, int], problems: list[str]
    ) -> "Iterator[ImageEntry]":
        lookup = folder_lookup(root, follow_links=self.follow_links)
        for name in _class_folders(root / folder):
            paths = _images_below(root / folder / name, self.extensions)
            if not paths and self.empty_classes == "leave_out":
                continue
            if name not in labels:
                problems.append(f"{root / folder / name} is no class of the train split")
                continue
            if not paths:
                problems.append(f"{root / folder / name} holds no image ({', '.join(self.extensions)})")
            ids = {path.relative_to(root).as_posix(): path for path in paths}
            splits = dict.fromkeys(ids, split) if split else self._splits(list(ids))
            for image_id, path in ids.items():
                try:
                    found = lookup(image_id) or (str(path), 0, 0)  # a dangling link goes to the quarantine
                except DataError as error:
                    problems.append(error.wrong)
                else:
                    yield image_id, splits[image_id], labels[name], *found, None

    def _splits(self, image_ids: list[str]) -> dict[str, str]:
        """The split of each image of one class."""
        shuffled = ranked(image_ids, str(self.split_seed))
        num_report = floor_of(len(shuffled), self.report_fraction)
        num_select = floor_of(len(shuffled), self.select_fraction)
        names = [SPLIT_REPORT] * num_report + [SPLIT_SELECT] * num_select
        names += [SPLIT_TRAIN] * (len(shuffled) - len(names))
        return dict(zip(shuffled, names, strict=True))


def _class_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images_below(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [
            Path(parent, name) for name in names if not name.startswith(".") and name.lower().endswith(extensions)
        ]
    return sorted(found)
