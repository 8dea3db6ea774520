"""Texts of kind `sentences`: several sentences about each class from a file, as VL-LTR takes them from an encyclopedia.

Reads a text or JSON file. Knows nothing of encoders. Source: methods 2.5.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from orchestrator.captioners.texts.files import digest_of, existing, match_classes, numbered_lines
from orchestrator.captioners.texts.source import ClassTextSource, Group
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


class SentencesText(ClassTextSource):
    """All sentences of a class; their embeddings are averaged and made unit again, or each pass draws one (`draw`).

    `file` is JSON (`.json`: a mapping of class name to a list of sentences) or text: lines of class name, tab,
    sentence, as many for a class as there are. The file may speak of more classes than the data set has.
    """

    kind: Literal["sentences"] = "sentences"
    file: str
    use: Literal["mean", "draw"] = Field(
        default="mean", description="of a class's sentences: their mean, or one drawn in each pass"
    )

    @property
    def draws_one(self) -> bool:
        """See `TextSource`."""
        return self.use == "draw"

    @property
    def names_classes(self) -> bool:
        """See `TextSource`."""
        return True

    def identity(self) -> dict[str, Any]:
        """See `TextSource`."""
        identity = {"kind": self.kind, "file": digest_of(self.file), "json": self.file.endswith(".json")}
        return identity if self.use == "mean" else {**identity, "use": self.use}

    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """See `ClassTextSource`.

        Raises:
            DataError: lines that cannot be used, or classes of which the file says nothing.
        """
        from orchestrator.datasets.index import raise_problems

        path = existing(self.file)
        problems: list[str] = []
        said = _read_json(path, problems) if path.suffix == ".json" else _read_lines(path, problems)
        raise_problems(problems, what=str(path), remedy="the format is in docs/texts.md")
        found, problems = match_classes(classes["name"].to_pylist(), list(said))
        raise_problems(problems, what=f"{path.name} for this data set", remedy="write sentences about every class")
        groups = list(said.values())
        return [tuple(groups[row]) for row in found]


def _read_lines(path: Path, problems: list[str]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for number, line in numbered_lines(path):
        name, tab, sentence = line.partition("\t")
        if tab and name.strip() and sentence.strip():
            said.setdefault(name.strip(), []).append(sentence.strip())
        else:
            problems.append(f"line {number}: {line[:60]!r} is not `class name, tab, sentence`")
    return said


def _read_json(path: Path, problems: list[str]) -> dict[str, list[str]]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}", expected="a mapping of class name to sentences") from error
    if not isinstance(tree, dict):
        raise DataError(f"{path} holds a {type(tree).__name__}", expected="a mapping of class name to sentences")
    said: dict[str, list[str]] = {}
    for name, value in tree.items():
        sentences = [value] if isinstance(value, str) else value
        good = isinstance(sentences, list) and sentences and all(isinstance(s, str) and s.strip() for s in sentences)
        if good:
            said[name] = [sentence.strip() for sentence in sentences]
        else:
            problems.append(f"{name!r}: not a list of one sentence or more, none of them empty")
    return said
