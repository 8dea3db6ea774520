"""Texts of kind `description_files`: names and sentences of classes in the format of the OOD paper's authors.

Reads `label2text.txt` and `chatgpt.txt`. Knows nothing of encoders. Source: methods 1.7.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.captioners.texts.files import digest_of, existing, match_classes, numbered_lines
from orchestrator.captioners.texts.source import ClassTextSource, Group

if TYPE_CHECKING:
    import pyarrow as pa

BASE_TEMPLATE = "a photo of {class}"
ENRICHED_TEMPLATE = "a photo of {class} . {description}"


def enriched(name: str, description: str | None) -> str:
    """The label text of the OOD paper: `a photo of NAME . DESCRIPTION`, or the base text where there is none."""
    base = BASE_TEMPLATE.replace("{class}", name)
    return f"{base} . {' '.join(description.split())}" if description else base


class DescriptionFilesText(ClassTextSource):
    """`a photo of {name} . {sentence}`, or without `sentences` the base text `a photo of {name}`; one text a class.

    `labels` has a line `directory number name` for each class (number from 1; underscores in the name stand for
    blanks). `sentences` has one line for each line of `labels`, in the same order; blank lines do not count. A class of
    the data set is found by its directory, else by its name; so the order of the data set (of the class directories)
    rules, and files may speak of more classes than it has.
    """

    kind: Literal["description_files"] = "description_files"
    labels: str
    sentences: str | None = None

    @property
    def names_classes(self) -> bool:
        """See `TextSource`."""
        return True

    def identity(self) -> dict[str, Any]:
        """See `TextSource`."""
        sentences = self.sentences and digest_of(self.sentences)
        return {"kind": self.kind, "labels": digest_of(self.labels), "sentences": sentences}

    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """See `ClassTextSource`.

        Raises:
            DataError: lines that cannot be used, counts that do not match, classes without a line.
        """
        from orchestrator.datasets.index import raise_problems

        labels = existing(self.labels)
        sentences = existing(self.sentences) if self.sentences is not None else None
        rows = read_label_texts(labels, sentences)
        names = classes["name"].to_pylist()
        found, problems = match_classes(names, [row[0] for row in rows], [row[1] for row in rows])
        raise_problems(problems, what=f"{labels.name} for this data set",
                       remedy="one line for each class: its directory, a number from 1, its name")  # fmt: skip
        return [(enriched(*rows[row][1:]),) for row in found]


def read_label_texts(labels: Path, sentences: Path | None) -> list[tuple[str, str, str | None]]:
    """(directory, name, sentence or None) of every class, in file order.

    Raises:
        DataError: all bad lines with their numbers; as many sentences as classes are needed.
    """
    from orchestrator.datasets.index import raise_problems

    problems: list[str] = []
    rows: list[tuple[str, str]] = []
    seen: dict[tuple[str, str], int] = {}
    lines = numbered_lines(labels)
    for number, line in lines:
        where, cells = f"{labels.name} line {number}", line.split()
        if len(cells) != 3 or not (cells[1].isascii() and cells[1].isdigit() and int(cells[1]) > 0):
            problems.append(f"{where}: {line!r} is not `directory number name` with a number from 1")
            continue
        for what, key in (("directory", cells[0]), ("number", str(int(cells[1])))):
            if (first := seen.setdefault((what, key), number)) != number:
                problems.append(f"{where}: the {what} {key} stands on line {first} too")
        rows.append((cells[0], cells[2].replace("_", " ").strip()))
    if not lines:
        problems.append(f"{labels.name} is empty")
    texts: list[str | None] = [None] * len(lines)
    if sentences is not None:
        said = numbered_lines(sentences)
        if len(said) != len(lines):
            last = f", the last on line {said[-1][0]}" if said else ""
            problems.append(
                f"{sentences.name}: {len(said)} sentences{last}, but {len(lines)} classes in {labels.name}"
                f"{_blank_lines(said)}"
            )
        texts = [text for _, text in said]
    raise_problems(problems, what=str(labels), remedy="give every class one line in each file, in the same order")
    return [(directory, name, text) for (directory, name), text in zip(rows, texts, strict=True)]


def _blank_lines(said: list[tuple[int, str]]) -> str:
    """Where sentences may be missing: the numbers of blank lines between others."""
    numbers = {number for number, _ in said}
    blank = [str(number) for number in range(1, max(numbers, default=0)) if number not in numbers]
    return f" (blank: line {', '.join(blank[:10])})" if blank else ""
