"""COCO 2017 by its caption annotations: images without labels, or with the category of their largest object.

Holds the settings of the kind `coco_captions`. Reads the annotations and the sizes of the images; writes nothing. The
captions themselves are a source of texts (`human_captions`), as for every data set. Source: methods 8.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.datasets.annotations import has, read_annotations
from orchestrator.datasets.paths import folder_lookup
from orchestrator.datasets.source import Listing, SelectFromTrain
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, ImageEntry

_SplitName = Literal["train", "report"]
_CAPTIONS = "COCO's annotations: `images` with id and file_name"
_INSTANCES = "COCO's instances: `annotations` with image_id, category_id and area, `categories` with id and name"
NO_LABEL = "image"  # the one class of a data set without labels
NO_OBJECT = "scene"  # the class of images in which no object is marked


class CocoCaptionsSettings(SelectFromTrain):
    """`images` maps a split to its folder below `root`, `captions` to its annotations; `val2017` is the report split.

    The index asks for one label an image, and COCO has none. Without `instances` all images are of one class, "image":
    right for methods that use no labels, and losses and accuracies that use them then say nothing. With `instances`
    (`instances_{train,val}2017.json`) the label is the category of the object with the largest area (of equals the one
    of the smaller category id), and images without an object are of a last class, "scene", or with `no_object:
    leave_out` not used. Classes are the categories in the order of their ids.
    """

    kind: Literal["coco_captions"] = "coco_captions"
    root: str
    images: dict[_SplitName, str] = Field(default={"train": "train2017", "report": "val2017"})
    captions: dict[_SplitName, str] = Field(
        default={"train": "annotations/captions_train2017.json", "report": "annotations/captions_val2017.json"}
    )
    instances: dict[_SplitName, str] | None = None
    no_object: Literal["class", "leave_out"] = "class"

    @model_validator(mode="after")
    def _same_splits(self) -> Self:
        if SPLIT_TRAIN not in self.captions or set(self.captions) != set(self.images):
            raise ValueError("captions and images must name the same splits, train among them")
        if self.instances is not None and set(self.instances) != set(self.captions):
            raise ValueError("instances must name the same splits as captions")
        return self

    @property
    def has_class_names(self) -> bool:
        """See `DatasetSource`."""
        return self.instances is not None

    def listing_stamp(self) -> str:
        """See `DatasetSource`."""
        from orchestrator.datasets.stamp import stamp_files

        files = [*self.captions.values(), *(self.instances or {}).values(), *self.images.values()]
        return stamp_files([Path(self.root).resolve() / name for name in files])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`."""
        from orchestrator.datasets.index import raise_problems

        root = Path(self.root).resolve()
        problems: list[str] = []
        names: dict[int, str] = {}
        rows: list[tuple[str, str, str, int, int, int | None]] = []  # id, split, path, offset, size, category
        splits: list[_SplitName] = [split for split in (SPLIT_TRAIN, SPLIT_REPORT) if split in self.captions]
        for split in splits:
            path = root / self.captions[split]
            lookup = folder_lookup(root / self.images[split])
            found = _images(path, problems)
            largest = self._largest(root, split, names, problems)
            for number, (where, name) in found.items():
                image_id = f"{self.images[split]}/{name}"
                try:
                    address = lookup(name)
                except DataError as error:
                    problems.append(f"{where}: {error.wrong}")
                    continue
                if address is None:
                    problems.append(f"{where}: {image_id} is missing")
                else:
                    rows.append((image_id, split, *address, largest.get(number)))
        raise_problems(problems, what="COCO's annotations", remedy="use the files as published, or set dataset.root")
        if not rows:
            raise DataError(f"{root}: the annotations name no image", expected=_CAPTIONS)
        return self.with_select(self._labelled(rows, names))

    def _labelled(self, rows: "list[tuple[str, str, str, int, int, int | None]]", names: dict[int, str]) -> Listing:
        if self.instances is None:
            return Listing([(*_at(row, 0), None) for row in rows], [(0, NO_LABEL, None)])
        labels = {category: label for label, category in enumerate(sorted(names))}
        classes: list[ClassEntry] = [(label, names[category], None) for category, label in labels.items()]
        empty = sum(row[-1] is None for row in rows)
        if self.no_object == "leave_out":
            rows = [row for row in rows if row[-1] is not None]
            told = [f"{empty:,} images without an object are left out"] * bool(empty)
        else:
            classes.append((len(labels), NO_OBJECT, None))
            told = [f"{empty:,} images without an object are of the class {NO_OBJECT!r}"] * bool(empty)
        entries: list[ImageEntry] = [
            (*_at(row, labels[row[-1]] if row[-1] is not None else len(labels)), None) for row in rows
        ]
        return Listing(entries, classes, tuple(told))

    def _largest(self, root: Path, split: _SplitName, names: dict[int, str], problems: list[str]) -> dict[int, int]:
        """Category of the largest object of each image; fills `names`."""
        if self.instances is None:
            return {}
        path = root / self.instances[split]
        tree = read_annotations(path, "annotations", "categories", expected=_INSTANCES)
        for position, row in enumerate(tree["categories"]):
            if not (has(row, id=int, name=str) and row["name"].strip()):
                problems.append(f"{path.name}: categories[{position}]: no id and name")
            elif names.setdefault(row["id"], row["name"].strip()) != row["name"].strip():
                problems.append(f"{path.name}: categories[{position}]: category {row['id']} has another name elsewhere")
        best: dict[int, tuple[float, int]] = {}
        for position, row in enumerate(tree["annotations"]):
            if not has(row, image_id=int, category_id=int, area=(int, float)):
                problems.append(f"{path.name}: annotations[{position}]: no image_id, category_id and area")
            elif row["category_id"] not in names:
                problems.append(f"{path.name}: annotations[{position}]: category {row['category_id']} has no name")
            else:
                rank = (-row["area"], row["category_id"])
                best[row["image_id"]] = min(best.get(row["image_id"], rank), rank)
        return {image: category for image, (_, category) in best.items()}


def _at(row: tuple[str, str, str, int, int, int | None], label: int) -> tuple[str, str, int, str, int, int]:
    image_id, split, path, offset, size, _ = row
    return image_id, split, label, path, offset, size


def _images(path: Path, problems: list[str]) -> dict[int, tuple[str, str]]:
    """Where an image is named, and its file, by id."""
    found: dict[int, tuple[str, str]] = {}
    seen: set[str] = set()
    for position, image in enumerate(read_annotations(path, "images", expected=_CAPTIONS)["images"]):
        where = f"{path.name}: images[{position}]"
        if not has(image, id=int, file_name=str):
            problems.append(f"{where}: no id and file_name")
        elif image["id"] in found or image["file_name"] in seen:
            problems.append(f"{where}: image {image['id']}, {image['file_name']}, is named twice")
        else:
            found[image["id"]] = (where, image["file_name"])
            seen.add(image["file_name"])
    return found
