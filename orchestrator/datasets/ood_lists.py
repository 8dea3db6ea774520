"""The split lists of the OOD paper's authors: one path per line, `{split}/{class folder}/{file}`.

Reads the three lists. They only name images that a data set has listed already: no path of theirs is ever opened.
Source: methods 1.11.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.datasets.ood_split import SPLIT_OF_LIST, ListName
from orchestrator.datasets.text_files import read_lines
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_REPORT

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry


def read_split_lists(lists: Mapping[ListName, str], entries: "list[ImageEntry]") -> tuple[dict[str, str], list[str]]:
    """The split of every listed image by its id, and what the user should know.

    A line is matched with an image whose id ends with the whole line, or with the line without its first folder (the
    authors' name of the split), so that images may lie as they were published.

    Raises:
        DataError: all lines that name no image, several images, or an image twice; classes seen and unseen at once.
    """
    from orchestrator.datasets.index import raise_problems

    absent = [f"the list {name}, {path}, is not a file" for name, path in lists.items() if not Path(path).is_file()]
    raise_problems(absent, what="ood_split.lists", remedy="relative paths start in the working directory")
    ids_by_ending = _ids_by_ending(entries)
    labels = {row[0]: row[2] for row in entries}
    problems: list[str] = []
    splits: dict[str, str] = {}
    first_seen: dict[str, str] = {}
    unseen_of: dict[int, dict[bool, str]] = {}
    for name in SPLIT_OF_LIST:
        for number, line in enumerate(read_lines(Path(lists[name])), start=1):
            if not line.strip():
                continue
            where, path = f"{Path(lists[name]).name} line {number}", PurePosixPath(line.strip())
            ids = ids_by_ending.get(str(path)) or ids_by_ending.get("/".join(path.parts[1:]), [])
            if len(path.parts) < 3:
                problems.append(f"{where}: {line.strip()!r} is not `split/class folder/file`")
            elif len(ids) != 1:
                problems.append(f"{where}: {path} is " + (f"{len(ids)} images: {', '.join(ids[:3])}" if ids else
                                                          "no image of the data set"))  # fmt: skip
            elif ids[0] in splits:
                problems.append(f"{where}: {path} is already listed at {first_seen[ids[0]]}")
            else:
                splits[ids[0]], first_seen[ids[0]] = SPLIT_OF_LIST[name], where
                unseen = SPLIT_OF_LIST[name] == SPLIT_REPORT
                unseen_of.setdefault(labels[ids[0]], {}).setdefault(unseen, where)
    problems += [f"a class is seen at {places[False]} and unseen at {places[True]}"
                 for places in unseen_of.values() if len(places) == 2]  # fmt: skip
    raise_problems(problems, what="ood_split.lists", remedy="use the lists and images as they were published")
    kinds = {unseen for places in unseen_of.values() for unseen in places}
    if kinds != {True, False}:
        raise DataError(f"ood_split.lists: the lists name {len(splits)} images",
                        expected="images of seen classes (train, val_on_train) and of unseen ones (val)")  # fmt: skip
    unlisted = len(labels) - len(splits)
    return splits, [f"ood_split: {unlisted:,} images stand in no list and are left out"] * bool(unlisted)


def _ids_by_ending(entries: "list[ImageEntry]") -> dict[str, list[str]]:
    """Image ids by themselves and by their endings of at least two parts."""
    found: dict[str, list[str]] = {}
    for row in entries:
        parts = row[0].split("/")
        for start in range(max(len(parts) - 1, 1)):
            found.setdefault("/".join(parts[start:]), []).append(row[0])
    return found
