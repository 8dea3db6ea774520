"""The class-names file: a TSV of label, WordNet id, names, training count, with or without a header.

Holds one reader. Reads that file; writes nothing. Knows nothing of images.
"""

from pathlib import Path

from orchestrator.datasets.named_labels import number_in
from orchestrator.datasets.text_files import read_lines
from orchestrator.errors import DataError

_COLUMNS_BY_WIDTH = {
    2: ("label", "names"),
    3: ("label", "wordnet_id", "names"),
    4: ("label", "wordnet_id", "names", "count"),
}
_SAME = {"name": "names", "wnid": "wordnet_id", "class": "label", "num_images": "count"}


def read_class_names(path: Path) -> list[tuple[int, str, str | None]]:
    """(label, name, description or None) of every class, sorted by label; labels must be 0..C-1.

    Without a header the columns are label and names (2), label, WordNet id and names (3), or these and the count (4).
    With a header the columns label and names are looked up by name and a column description is taken when there.
    Of several names separated by commas the first is used. DataError lists every bad line.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file", expected="the class-names file (label, WordNet id, names, count)")
    lines = [line.split("\t") for line in read_lines(path) if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty", expected="one line for each class")
    header = not lines[0][0].strip().isdigit()
    columns = [_column(cell) for cell in lines[0]] if header else list(_COLUMNS_BY_WIDTH.get(len(lines[0]), ()))
    if "label" not in columns or "names" not in columns:
        raise DataError(
            f"{path}: columns {columns or len(lines[0])}", expected="at least label and names, tab separated"
        )
    classes: list[tuple[int, str, str | None]] = []
    problems = []
    for number, cells in enumerate(lines[header:], start=1 + header):
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        label, name = number_in(row.get("label", "")), row.get("names", "").split(",")[0].strip()
        if label is not None and name and len(cells) == len(columns):
            classes.append((label, name, row.get("description") or None))
        else:
            problems.append(f"line {number}: {cells}")
    labels = sorted(label for label, _, _ in classes)
    if not problems and labels != list(range(len(labels))):
        problems.append(f"labels are not 0 to {len(labels) - 1}, each once")
    if problems:
        raise DataError(f"{path}: {'; '.join(problems[:10])}", expected=f"{len(columns)} cells a line: {columns}")
    return sorted(classes)


def _column(cell: str) -> str:
    name = cell.strip().lower().replace(" ", "_")
    return _SAME.get(name, name)
