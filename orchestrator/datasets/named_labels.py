"""Labels as files give them, numbers or names, and the classes that they make.

Holds two functions. Reads a class-names file where there is one; writes nothing. Knows nothing of images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry

Label = int | str
MAX_DIGITS = 9


def number_in(text: str) -> int | None:
    """The number that a text of digits is; None for other texts and for more digits than any label has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def classes_of(
    labels: Mapping[str, Sequence[Label]], class_names: Path | None, known: Sequence[str], problems: list[str]
) -> "tuple[list[ClassEntry], dict[str, list[int]]]":
    """The classes, and the labels of each split as numbers.

    Numbers are labels as they are; names are numbered by the class-names file, by `known`, or in alphabetical order of
    the training split's. Classes that have no name are called `class N`.

    Args:
        labels: by split.
        known: names that the data set itself tells, in the order of their numbers.
        problems: is added what is wrong.
    """
    from orchestrator.datasets.class_names import read_class_names
    from orchestrator.datasets.index import MAX_CLASSES

    named = any(isinstance(label, str) for found in labels.values() for label in found)
    train = labels.get(SPLIT_TRAIN, ())
    classes: list[ClassEntry]
    if class_names is not None:
        classes = read_class_names(class_names)
    elif known:
        classes = [(number, name, None) for number, name in enumerate(known)]
    elif named:
        classes = [(number, name, None) for number, name in enumerate(sorted({str(label) for label in train}))]
    else:
        count = 1 + max((int(label) for label in train), default=-1)
        if count > MAX_CLASSES:
            problems.append(f"the largest label is {count - 1}; labels are 0 to {MAX_CLASSES - 1:,} at most")
            count = 0
        classes = [(number, f"class {number}", None) for number in range(count)]
    number_of = {name: number for number, name, _ in classes}
    found: dict[str, list[int]] = {}
    for split, of_split in labels.items():
        numbers = [number_of.get(label, -1) if isinstance(label, str) else int(label) for label in of_split]
        wrong = sorted(
            {str(label) for label, number in zip(of_split, numbers, strict=True) if not 0 <= number < len(classes)}
        )
        if wrong:
            shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            problems.append(f"the {split} split has labels that no class has: {shown}")
        found[split] = numbers
    return classes, found
