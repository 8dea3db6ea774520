"""WebDataset: tar files in which the members of one sample share a key: `0001.jpg` and `0001.cls` or `0001.json`.

Holds the settings of the kind `webdataset`. Reads the tars' headers, the labels and, through the index, the images in
place; writes and unpacks nothing. Knows nothing of other formats. Source: the WebDataset format (Aizman et al., 2019).
"""

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from orchestrator.datasets.named_labels import number_in
from orchestrator.datasets.source import FilesOfSplits, Listing
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

Split = Literal["train", "select", "report"]
Label = int | str


class WebDatasetSettings(FilesOfSplits):
    """`shards` maps a split to its uncompressed tars below `root`: relative paths or patterns, as `train-*.tar`.

    A sample's key is its members' path up to the first dot of the name. The label is what `.cls` holds, or the field
    `label_field` of `.json`: a number or a name. An image's id is its shard's path and its key. Names of numbers are
    taken from `class_names` (see class_names.py). Links below the root must stay in it, but for `follow_links`.
    """

    NAMED_BY: ClassVar[str] = "shards"

    kind: Literal["webdataset"] = "webdataset"
    root: str
    shards: dict[Split, str | tuple[str, ...]]
    extensions: tuple[str, ...] = ("jpg", "jpeg", "png", "webp")
    label_field: str = "label"
    class_names: str | None = None
    follow_links: bool = False

    def listing_stamp(self) -> str:
        """See `DatasetSource`: digest of the tars and of the class names."""
        from orchestrator.datasets.stamp import stamp_files

        files = [path for of_split in self._files([]).values() for _, path in of_split]
        return stamp_files([*files, *([self._class_names()] if self.class_names else [])])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. DataError lists missing tars, samples without an image or a label, and wrong labels."""
        from orchestrator.datasets.index import raise_problems
        from orchestrator.datasets.named_labels import classes_of

        problems: list[str] = []
        files = self._files(problems)
        raise_problems(problems, what="the shards", remedy="set dataset.root and dataset.shards")
        entries: list[ImageEntry] = []
        labels: dict[str, list[Label]] = {}
        for split, of_split in files.items():
            labels[split] = []
            for name, path in of_split:
                for key, label, offset, size in self._samples(path, problems):
                    entries.append((f"{name}/{key}", split, 0, str(path), offset, size, None))
                    labels[split].append(label)
        raise_problems(problems, what="the shards", remedy="set dataset.extensions or label_field, or write them again")
        if not labels[SPLIT_TRAIN]:
            raise DataError("the shards of the train split hold no sample", expected="members KEY.jpg and KEY.cls")
        classes, numbers = classes_of(labels, self._class_names() if self.class_names else None, (), problems)
        raise_problems(problems, what="the labels", remedy="correct the shards, or dataset.class_names")
        left = {split: iter(found) for split, found in numbers.items()}
        entries = [(*row[:2], next(left[row[1]]), *row[3:]) for row in entries]
        return self.with_select(Listing(entries, classes))

    def _files(self, problems: list[str]) -> dict[str, list[tuple[str, Path]]]:
        from orchestrator.datasets.matching_files import files_of_splits

        patterns = {str(s): (found,) if isinstance(found, str) else found for s, found in self.shards.items()}
        return files_of_splits(Path(self.root).resolve(), patterns, problems, follow_links=self.follow_links)

    def _class_names(self) -> Path:
        return Path(self.root).resolve() / str(self.class_names)

    def _samples(self, path: Path, problems: list[str]) -> list[tuple[str, Label, int, int]]:
        """(key, label, offset, size of the image) of each sample of one tar, in its order."""
        from orchestrator.datasets.tar_members import member_addresses

        samples: dict[str, dict[str, tuple[int, int]]] = {}
        for name, address in member_addresses(path).items():
            whole = PurePosixPath(name)
            stem, _, extension = whole.name.partition(".")
            samples.setdefault(str(whole.with_name(stem)) if stem else name, {})[extension.lower()] = address
        found: list[tuple[str, Label, int, int]] = []
        with path.open("rb") as stream:
            for key, members in samples.items():
                images = [members[extension] for extension in self.extensions if extension in members]
                label = self._label(stream, members)
                if len(images) != 1 or label is None:
                    lacks = (
                        f"{len(images)} images" if len(images) != 1 else f"no .cls, nor a .json with {self.label_field}"
                    )
                    problems.append(f"{path.name}: sample {key} has {lacks} (members: {', '.join(members)})")
                else:
                    found.append((key, label, *images[0]))
        return found

    def _label(self, stream: Any, members: dict[str, tuple[int, int]]) -> Label | None:
        """What a sample's members say of its class: a number where it is one; None where they say nothing."""
        if (address := members.get("cls")) is not None:
            said: Any = _read(stream, address).decode(errors="replace").strip()
        elif (address := members.get("json")) is not None:
            try:
                tree = json.loads(_read(stream, address))
            except (ValueError, RecursionError):
                return None
            said = tree.get(self.label_field) if isinstance(tree, dict) else None
        else:
            return None
        if isinstance(said, bool) or not isinstance(said, int | str) or said == "":
            return None
        return said if isinstance(said, int) or (number := number_in(said)) is None else number


def _read(stream: Any, address: tuple[int, int]) -> bytes:
    stream.seek(address[0])
    return bytes(stream.read(address[1]))
