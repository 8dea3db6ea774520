"""iNaturalist 2018 by its official annotations, `train2018.json` and `val2018.json`. Source: methods 8.

Holds the settings of the kind `inaturalist`. Reads the annotations and the sizes of the images; writes nothing.
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.datasets.annotations import has, read_annotations
from orchestrator.datasets.paths import Lookup, folder_lookup
from orchestrator.datasets.source import Listing, SelectFromTrain
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, ImageEntry

IMAGE_FOLDER = "train_val2018"
_EXPECTED = (
    "iNaturalist's annotations: `annotations` with category_id and image_id, joined with `images` of id and file_name; "
    "or `annotations` with category_id and fpath"
)


class INaturalistSettings(SelectFromTrain):
    """Images in the folder `images` below `root`, as `{super category}/{category}/{hash}.jpg` there; 8,142 classes.

    The annotations' images are joined by id; the variant that LiVT prepares has `fpath` in each annotation instead. A
    path counts after its part `train_val2018`, whatever stands before, so absolute paths of another machine do no harm;
    ids are `train_val2018/...`. There is no test split: `val` is the report split, and `select_fraction` sets a part of
    train aside.

    Labels are the places of the category ids in their order (the ids themselves for the complete data set). Names are
    those of `categories` in the first file that has some: `categories` (a JSON list or object, the release's
    `categories.json`), then `train`; else "class N".
    """

    kind: Literal["inaturalist"] = "inaturalist"
    root: str
    train: str = "train2018.json"
    val: str = "val2018.json"
    images: str = IMAGE_FOLDER
    categories: str | None = None

    def _files(self) -> dict[str, Path]:
        base = Path(self.root).resolve()
        return {SPLIT_TRAIN: base / self.train, SPLIT_REPORT: base / self.val}

    def _categories(self) -> Path | None:
        return Path(self.root).resolve() / self.categories if self.categories is not None else None

    def listing_stamp(self) -> str:
        """See `DatasetSource`."""
        from orchestrator.datasets.stamp import stamp_files

        images = Path(self.root).resolve() / self.images
        return stamp_files([*self._files().values(), *filter(None, [self._categories()]), images])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`."""
        from orchestrator.datasets.index import raise_problems

        problems: list[str] = []
        found: dict[str, list[tuple[str, str, int]]] = {}
        names: dict[int, str] = {}
        if (path := self._categories()) is not None:
            names = _names(read_list(path), path.name, problems)
        for split, path in self._files().items():
            tree = read_annotations(path, "annotations", expected=_EXPECTED, optional=("images", "categories"))
            found[split] = _joined(tree, path.name, problems)
            names = names or _names(tree["categories"], path.name, problems)
        used = {category for rows in found.values() for _, _, category in rows}
        if unknown := sorted(used - set(names)) if names else []:
            problems.append(f"categories {', '.join(map(str, unknown[:10]))} have no name")
        labels = {category: label for label, category in enumerate(sorted(set(names) or used))}
        entries = _entries(found, labels, folder_lookup(Path(self.root) / self.images), problems)
        raise_problems(problems, what="iNaturalist's annotations", remedy="use the files as published, or set root")
        if not found[SPLIT_TRAIN]:
            raise DataError(f"{self._files()[SPLIT_TRAIN]} names no image", expected=_EXPECTED)
        classes: list[ClassEntry] = [
            (label, names.get(category, f"class {category}"), None) for category, label in labels.items()
        ]
        told = () if names else ("no file names the categories: texts with class names would say nothing",)
        return self.with_select(Listing(entries, classes, told))


def read_list(path: Path) -> list[Any]:
    """A JSON list of categories, or the list under `categories` of an object; DataError otherwise."""
    return read_annotations(path, "categories", expected="a list of categories with id and name", bare="categories")[
        "categories"
    ]


def _names(rows: list[Any], file: str, problems: list[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, row in enumerate(rows):
        if not (has(row, id=int, name=str) and row["name"].strip()):
            problems.append(f"{file}: categories[{position}]: no id and name")
        elif row["id"] in names:
            problems.append(f"{file}: categories[{position}]: id {row['id']} occurs twice")
        else:
            names[row["id"]] = row["name"].strip()
    return names


def _joined(tree: dict[str, list[Any]], file: str, problems: list[str]) -> list[tuple[str, str, int]]:
    """(place, path as written, category) of every good annotation."""
    paths: dict[int, str] = {}
    for position, image in enumerate(tree["images"]):
        if not has(image, id=int, file_name=str):
            problems.append(f"{file}: images[{position}]: no id and file_name")
        elif image["id"] in paths:
            problems.append(f"{file}: images[{position}]: id {image['id']} occurs twice")
        else:
            paths[image["id"]] = image["file_name"]
    rows = []
    for position, row in enumerate(tree["annotations"]):
        where = f"{file}: annotations[{position}]"
        if not has(row, category_id=int):
            problems.append(f"{where}: no category_id")
        elif has(row, fpath=str):
            rows.append((where, row["fpath"], row["category_id"]))
        elif not has(row, image_id=int):
            problems.append(f"{where}: neither fpath nor image_id")
        elif row["image_id"] not in paths:
            problems.append(f"{where}: image {row['image_id']} is not among the images")
        else:
            rows.append((where, paths[row["image_id"]], row["category_id"]))
    return rows


def _entries(
    found: dict[str, list[tuple[str, str, int]]], labels: dict[int, int], lookup: Lookup, problems: list[str]
) -> "list[ImageEntry]":
    entries: list[ImageEntry] = []
    first_seen: dict[str, str] = {}
    for split, rows in found.items():
        for where, written, category in rows:
            below = _below_image_folder(written)
            name = f"{IMAGE_FOLDER}/{below}"
            try:
                address = lookup(below)
            except DataError as error:
                problems.append(f"{where}: {error.wrong}")
                continue
            if name in first_seen:
                problems.append(f"{where}: {name} is already named at {first_seen[name]}")
            elif address is None:
                problems.append(f"{where}: {name} is missing")
            elif category in labels:
                entries.append((name, split, labels[category], *address, None))
            first_seen.setdefault(name, where)
    return entries


def _below_image_folder(written: str) -> str:
    parts = PurePosixPath(written).parts
    start = parts.index(IMAGE_FOLDER) + 1 if IMAGE_FOLDER in parts else 0
    return str(PurePosixPath(*parts[start:])) if parts else written
