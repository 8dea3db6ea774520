"""Lists of images: one text file per split, each line a relative path and a label; images in folders or tar files.

Holds the settings of the kind `list_file` (the format of ImageNet-LT, Places-LT, iNaturalist). Reads the lists, the
headers of tar files and, through the index, the images; writes nothing. Knows nothing of other formats.
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from orchestrator.datasets.named_labels import number_in
from orchestrator.datasets.paths import Address, Lookup, folder_lookup, leaves_root
from orchestrator.datasets.source import FilesOfSplits, Listing
from orchestrator.datasets.text_files import read_lines
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, ImageEntry

Preset = Literal["imagenet_lt", "places_lt", "inaturalist_2018"]
_LISTS_OF_PRESET: dict[str, dict[str, str]] = {  # as their authors named them
    name.lower(): {"train": f"{name}_train.txt", "select": f"{name}_val.txt", "report": f"{name}_test.txt"}
    for name in ("ImageNet_LT", "Places_LT")
}
_LISTS_OF_PRESET["inaturalist_2018"] = {"train": "iNaturalist18_train.txt", "report": "iNaturalist18_val.txt"}


class ListFileSettings(FilesOfSplits):
    """`lists` maps a split to its list file; `root` is where the listed paths lie: folder(s) or .tar file(s).

    With one folder as `root`, relative paths of `lists`, `class_names` and `archives` (tars that hold the images) start
    there, so that one override of `root` moves the whole data set; otherwise they start in the working directory.

    Each line of a list is `relative/path label`; the path is the image's id and must be found in exactly one root.
    Without `class_names` (see class_names.py) there are as many classes as the largest training label plus one, and
    their names say nothing.

    `preset` fills in `lists` (train to train, val to select, test to report; iNaturalist's val to report) and
    `published`, where they are not given, for the lists of ImageNet-LT, Places-LT and iNaturalist 2018 as published.
    `select_fraction` is for lists without a select split. Links below the root must stay in it, but for `follow_links`.
    """

    NAMED_BY: ClassVar[str] = "lists"

    kind: Literal["list_file"] = "list_file"
    lists: dict[Literal["train", "select", "report"], str]
    root: str | tuple[str, ...]
    archives: tuple[str, ...] = ()
    class_names: str | None = None
    preset: Preset | None = None
    follow_links: bool = False

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        if not isinstance(name, str) or name not in _LISTS_OF_PRESET:
            return values
        return {"lists": _LISTS_OF_PRESET[name], "published": name, **values}

    @field_validator("root")
    @classmethod
    def _at_least_one(cls, root: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not root:
            raise ValueError("root must name at least one folder or .tar file")
        return root

    @model_validator(mode="after")
    def _archives_lie_in_one_root(self) -> Self:
        if self.archives and not isinstance(self.root, str):
            raise ValueError(
                "archives are looked for in one root folder: give root as one folder, or list the tars as root"
            )
        return self

    @property
    def has_class_names(self) -> bool:
        """See `DatasetSource`."""
        return self.class_names is not None

    def listing_stamp(self) -> str:
        """See `DatasetSource`: digest of lists, class names and roots (tars, or all files below)."""
        from orchestrator.datasets.stamp import stamp_files

        return stamp_files([*self._lists().values(), *self._roots(), *filter(None, [self._class_names()])])

    def _base(self) -> Path:
        """Where relative paths start."""
        single = self.root if isinstance(self.root, str) else self.root[0] if len(self.root) == 1 else ""
        return Path(single).resolve() if single and Path(single).is_dir() else Path.cwd()

    def _lists(self) -> dict[str, Path]:
        return {split: self._base() / path for split, path in self.lists.items()}

    def _roots(self) -> list[Path]:
        """Where images are looked up: the archives when there are any, else the roots."""
        if self.archives:
            return [self._base() / archive for archive in self.archives]
        return [Path(root).resolve() for root in ([self.root] if isinstance(self.root, str) else self.root)]

    def _class_names(self) -> Path | None:
        return self._base() / self.class_names if self.class_names is not None else None

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. DataError lists the bad lines and missing files."""
        from orchestrator.datasets.class_names import read_class_names
        from orchestrator.datasets.index import MAX_CLASSES, raise_problems

        roots, lists, class_names = self._roots(), self._lists(), self._class_names()
        absent = [f"root {root} does not exist" for root in roots if not root.exists()]
        absent += [f"the {split} list {path} does not exist" for split, path in lists.items() if not path.is_file()]
        raise_problems(absent, what="the data set", remedy="set dataset.root and dataset.lists")

        problems: list[str] = []
        listed = {split: _parse(path, problems) for split, path in lists.items()}
        classes: list[ClassEntry]
        if class_names is not None:
            classes = read_class_names(class_names)
        else:
            num_classes = 1 + max((label for _, _, label in listed[SPLIT_TRAIN]), default=-1)
            if num_classes > MAX_CLASSES:
                problems.append(f"{lists[SPLIT_TRAIN].name}: label {num_classes - 1:,} is above {MAX_CLASSES - 1:,}")
                num_classes = 0
            classes = [(label, f"class {label}", None) for label in range(num_classes)]
        lookups = [_lookup(root, self.follow_links) for root in roots]
        entries = _entries(listed, lists, lookups, len(classes), problems)
        raise_problems(problems, what="the lists", remedy="correct the lines, or set dataset.root (or follow_links)")
        if not any(entry[1] == SPLIT_TRAIN for entry in entries):
            raise DataError(f"{lists[SPLIT_TRAIN]} names no image", expected="lines of `relative/path label`")
        return self.with_select(Listing(entries, classes))


def _parse(path: Path, problems: list[str]) -> list[tuple[int, str, int]]:
    """(line number, image path, label) of every good line; the bad ones go to `problems`."""
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        cells = line.rsplit(maxsplit=1)
        where = f"{path.name} line {number}"
        if len(cells) != 2 or (label := number_in(cells[1])) is None:
            problems.append(f"{where}: {line!r} is not `relative/path label` with a label from 0")
            continue
        if leaves_root(name := cells[0].strip()):
            problems.append(f"{where}: {cells[0]!r} leaves the root (absolute, or with ..)")
            continue
        rows.append((number, str(PurePosixPath(name)), label))
    return rows


def _entries(
    listed: dict[str, list[tuple[int, str, int]]],
    lists: dict[str, Path],
    lookups: list[Lookup],
    num_classes: int,
    problems: list[str],
) -> "list[ImageEntry]":
    entries: list[ImageEntry] = []
    first_seen: dict[str, str] = {}
    for split, rows in listed.items():
        for number, name, label in rows:
            where = f"{lists[split].name} line {number}"
            try:
                found = [address for lookup in lookups if (address := lookup(name)) is not None]
            except DataError as error:
                problems.append(f"{where}: {error.wrong}")
                continue
            if name in first_seen:
                problems.append(f"{where}: {name} is already listed at {first_seen[name]}")
            elif label >= num_classes:
                problems.append(f"{where}: label {label} is outside 0..{num_classes - 1}")
            elif len(found) != 1:
                places = ", ".join(address[0] for address in found)
                problems.append(f"{where}: {name} is " + (f"in more than one root: {places}" if found else "missing"))
            else:
                entries.append((name, split, label, *found[0], None))
            first_seen.setdefault(name, where)
    return entries


def _lookup(root: Path, follow_links: bool) -> Lookup:
    """A function from a relative path to the address of its bytes under this root, or None."""
    if root.is_dir():
        return folder_lookup(root, follow_links=follow_links)
    from orchestrator.datasets.tar_members import member_addresses

    addresses = member_addresses(root)

    def in_tar(name: str) -> Address | None:
        return (str(root), *addresses[name]) if name in addresses else None

    return in_tar
