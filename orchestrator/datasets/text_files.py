"""Lines of the text files that data sets come with.

Holds one reader. Knows nothing of what the lines mean.
"""

from pathlib import Path

from orchestrator.errors import DataError


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, blank ones included; a byte order mark is dropped.

    Raises:
        DataError: the file is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}", remedy="save it as UTF-8") from error
