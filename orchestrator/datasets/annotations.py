"""Annotations in the form of COCO: a JSON object of lists, whose rows refer to one another by id.

Holds the reader of the object and a check of rows. Knows nothing of what the lists mean.
"""

import json
from pathlib import Path
from typing import Any

from orchestrator.errors import DataError


def read_annotations(
    path: Path, *keys: str, expected: str, optional: tuple[str, ...] = (), bare: str | None = None
) -> dict[str, list[Any]]:
    """The lists under `keys` of a JSON file; those under `optional` are empty where there are none.

    A file that is one list itself is taken for the list `bare`, where that is given.

    Raises:
        DataError: no such file, no JSON, or no object with lists under all of the keys.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file", expected=expected)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of many digits, too deep
        raise DataError(f"{path} is not JSON: {error}", expected=expected) from error
    if isinstance(tree, list) and bare is not None:
        tree = {bare: tree}
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key), list) for key in keys):
        raise DataError(f"{path} holds no lists {' and '.join(f'`{key}`' for key in keys)}", expected=expected)
    found = {key: tree.get(key, []) for key in (*keys, *optional)}
    if wrong := [key for key in optional if not isinstance(found[key], list)]:
        raise DataError(f"{path}: {', '.join(wrong)} is no list", expected=expected)
    return found


def has(row: Any, **types: type | tuple[type, ...]) -> bool:
    """Whether a row is an object with all these fields, of these types."""
    return isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in types.items())
