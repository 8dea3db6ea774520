"""Reading the text files that users bring, and finding the classes of a data set in them.

Reads files. Knows nothing of what their lines mean.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import DataError


def digest_of(path: str) -> str:
    """Digest of a file's bytes; DataError when there is no such file."""
    from orchestrator.artifacts.fingerprint import digest_file

    return digest_file(existing(path))


def existing(path: str) -> Path:
    """The path of a file that is there, relative ones from the working directory.

    Raises:
        DataError: there is no such file.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} is not a file", expected="a file; relative paths start in the working directory")
    return Path(path)


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, text without blanks around it) of every line that is not blank.

    Raises:
        DataError: the file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}", remedy="save it as UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def match_classes(names: Sequence[str], *columns: Sequence[str]) -> tuple[list[int], list[str]]:
    """For each class the row of a file that speaks of it, and the problems in words.

    Args:
        names: the data set's class names, by label.
        columns: what the rows are called, in the order in which they are tried; all of one length. In each, a name is
            looked for as it stands, then with underscores as blanks and without regard to case.

    A class that two rows or no row speaks of, and a name that two classes share, is a problem (its row is -1).
    """
    found: list[int] = []
    problems: list[str] = []
    lookups = [lookup for column in columns for lookup in (_rows(column), _rows([_plain(key) for key in column]))]
    shared = {name for name, count in Counter(_plain(name) for name in names).items() if count > 1}
    for label, name in enumerate(names):
        rows: list[int] = []
        for position, lookup in enumerate(lookups):
            rows = rows or lookup.get(_plain(name) if position % 2 else name, [])
        if len(rows) != 1:
            problems.append(f"class {label}, {name!r}: {len(rows)} rows")
        elif _plain(name) in shared and found.count(rows[0]):
            problems.append(f"class {label}, {name!r}: another class has the same name")
            rows = []
        found.append(rows[0] if len(rows) == 1 else -1)
    return found, problems


def _rows(keys: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
