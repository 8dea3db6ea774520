"""Texts of kind `human_captions`: what people wrote about each image, from COCO's caption annotations.

Reads `captions_train2017.json` and the like. Knows nothing of encoders. Source: methods 8.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from orchestrator.captioners.texts.files import digest_of, existing
from orchestrator.captioners.texts.source import Group, TextMaterial, TextSource
from orchestrator.errors import DataError

_EXPECTED = "COCO's caption annotations: `images` with id and file_name, `annotations` with id, image_id and caption"


class HumanCaptionsText(TextSource):
    """The captions of an image: the mean of their embeddings made unit again, the `first` (smallest annotation id), or
    one that is drawn in each pass (`draw`).

    An image of the data set is found by its file's name (folders do not count), else by the number that the name is
    (000000000139.jpg is image 139). Images without a caption have no text.
    """

    kind: Literal["human_captions"] = "human_captions"
    files: tuple[str, ...] = Field(description="annotation files in COCO's format")
    use: Literal["mean", "first", "draw"] = Field(
        default="mean", description="of an image's captions: their mean, the first, or one drawn in each pass"
    )

    @property
    def draws_one(self) -> bool:
        """See `TextSource`."""
        return self.use == "draw"

    @field_validator("files")
    @classmethod
    def _at_least_one(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if not files:
            raise ValueError("names no file")
        return files

    def identity(self) -> dict[str, Any]:
        """See `TextSource`."""
        return {"kind": self.kind, "files": [digest_of(file) for file in self.files], "use": self.use}

    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """See `TextSource`.

        Raises:
            DataError: a file is not what it should be, or speaks of none of the images.
        """
        by_name: dict[str, list[str]] = {}
        by_number: dict[int, list[str]] = {}
        for file in self.files:
            _read(existing(file), by_name, by_number)
        names = material.train["image_id"].to_pylist()
        found = [_captions_of(_file_name(name), by_name, by_number) for name in names]
        if not any(found):
            raise DataError(
                f"{', '.join(self.files)}: no image of the data set has a caption there",
                expected=f"file names such as {next(iter(by_name), 'none')} (the data set has {names[0]})",
                remedy="name the annotations of these images",
            )
        return [tuple(captions[:1] if self.use == "first" else captions) or None for captions in found]


def _captions_of(name: str, by_name: dict[str, list[str]], by_number: dict[int, list[str]]) -> list[str]:
    if name in by_name:
        return by_name[name]
    stem = name.rpartition(".")[0]
    return by_number.get(int(stem), []) if stem.isascii() and stem.isdigit() else []


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]  # pathlib takes 3.9 us for it, this 0.12; COCO has 118,287 of them


def _read(path: Path, by_name: dict[str, list[str]], by_number: dict[int, list[str]]) -> None:
    """Add one file's captions, in the order of the annotations' ids."""
    from orchestrator.datasets.annotations import has, read_annotations
    from orchestrator.datasets.index import raise_problems

    tree = read_annotations(path, "images", "annotations", expected=_EXPECTED)
    problems: list[str] = []
    names: dict[int, str] = {}
    for position, image in enumerate(tree["images"]):
        if not has(image, id=int, file_name=str):
            problems.append(f"images[{position}]: no id and file_name")
            continue
        names[image["id"]] = _file_name(image["file_name"])
    said: dict[int, list[tuple[int, str]]] = {}
    for position, row in enumerate(tree["annotations"]):
        if not has(row, id=int, image_id=int, caption=str):
            problems.append(f"annotations[{position}]: no id, image_id and caption")
        elif row["image_id"] not in names:
            problems.append(f"annotations[{position}]: image {row['image_id']} is not among the images")
        elif text := " ".join(row["caption"].split()):
            said.setdefault(row["image_id"], []).append((row["id"], text))
    raise_problems(problems, what=str(path), remedy="use the file as it was published")
    for image_id, rows in said.items():
        captions = [text for _, text in sorted(rows)]
        by_name.setdefault(names[image_id], captions)
        by_number.setdefault(image_id, captions)
