"""Files below a root that patterns name, for data sets whose splits are sets of files.

Holds one function. Reads folder listings; writes nothing. Knows nothing of formats.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.datasets.paths import folder_lookup, leaves_root
from orchestrator.errors import DataError


def files_of_splits(
    root: Path, patterns: Mapping[str, Sequence[str]], problems: list[str], *, follow_links: bool = False
) -> dict[str, list[tuple[str, Path]]]:
    """(path relative to the root, file) of each split's files, in order of their names.

    A pattern is a relative path, with `*` and `**` as in a shell. `problems` is added what leaves the root (but for
    `follow_links` also through a link), matches nothing, or is in two splits.
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    first: dict[str, str] = {}
    lookup = folder_lookup(root, follow_links=follow_links)
    for split, of_split in patterns.items():
        names: set[str] = set()
        for pattern in of_split:
            if leaves_root(pattern):
                problems.append(f"{pattern!r} leaves the root (absolute, or with ..)")
                continue
            here = {path.relative_to(root).as_posix() for path in root.glob(pattern)}
            try:
                here = {name for name in here if lookup(name) is not None}
            except DataError as error:
                problems.append(f"{error.wrong}; for links that you trust, dataset.follow_links=true")
                continue
            if not here:
                problems.append(f"{root / pattern}: no file matches")
            names |= here
        for name in sorted(names):
            if name in first:
                problems.append(f"{name} is in the {first[name]} split and in the {split} split")
            first.setdefault(name, split)
        found[split] = [(name, root / name) for name in sorted(names)]
    return found
