"""Parquet files with a column of encoded images and one of labels, as hubs publish data sets.

Holds the settings of the kind `parquet`. Reads the files' metadata and labels and, through the index, the images;
writes nothing. Knows nothing of other formats.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.datasets.source import FilesOfSplits, Listing
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

Split = Literal["train", "select", "report"]


class ParquetSettings(FilesOfSplits):
    """`files` maps a split to its files below `root`: relative paths or patterns, as `data/train-*.parquet`.

    `image_column` holds encoded images; a dot leads into a struct. `label_column` holds numbers or names; the names of
    numbers are taken from `class_names` (see class_names.py), else from the features that a hub's file tells. An
    image's id is its file's path and its row, or `id_column`. Images are read in place, by row group: the smaller the
    row groups, the faster one image at random. Links below the root must stay in it, but for `follow_links` (a hub's
    cache is made of links).
    """

    NAMED_BY: ClassVar[str] = "files"

    kind: Literal["parquet"] = "parquet"
    root: str
    files: dict[Split, str | tuple[str, ...]]
    image_column: str = Field(default="image.bytes", min_length=1, pattern=r"^[^:]+$")
    label_column: str = "label"
    id_column: str | None = None
    class_names: str | None = None
    follow_links: bool = False

    def listing_stamp(self) -> str:
        """See `DatasetSource`: digest of the files and of the class names."""
        from orchestrator.datasets.stamp import stamp_files

        files = [path for of_split in self._files([]).values() for _, path in of_split]
        return stamp_files([*files, *([self._class_names()] if self.class_names else [])])

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. DataError lists missing files and columns and wrong labels."""
        from orchestrator.datasets.index import raise_problems
        from orchestrator.datasets.named_labels import classes_of
        from orchestrator.datasets.parquet_cells import WHOLE_CELL, cell_path

        problems: list[str] = []
        files = self._files(problems)
        columns = {path: self._columns(path, problems) for of_split in files.values() for _, path in of_split}
        raise_problems(
            problems, what="the Parquet files", remedy="set dataset.root, files and the names of the columns"
        )
        labels = {
            str(split): [label for _, path in of_split for label in columns[path][0]]
            for split, of_split in files.items()
        }
        known = next((names for _, _, names in columns.values() if names), [])
        classes, numbers = classes_of(labels, self._class_names() if self.class_names else None, known, problems)
        raise_problems(problems, what="the labels", remedy="set dataset.label_column, or correct dataset.class_names")
        entries: list[ImageEntry] = []
        for split, of_split in files.items():
            left = iter(numbers[split])
            for name, path in of_split:
                where, (of_file, told, _) = cell_path(path, self.image_column), columns[path]
                for row, image_id in enumerate(told or [f"{name}/{row}" for row in range(len(of_file))]):
                    entries.append((str(image_id), split, next(left), where, row, WHOLE_CELL, None))
        if not labels[SPLIT_TRAIN]:
            raise DataError("the files of the train split have no row", expected="at least one image")
        return self.with_select(Listing(entries, classes))

    def _files(self, problems: list[str]) -> dict[str, list[tuple[str, Path]]]:
        from orchestrator.datasets.matching_files import files_of_splits

        patterns = {str(s): (found,) if isinstance(found, str) else found for s, found in self.files.items()}
        return files_of_splits(Path(self.root).resolve(), patterns, problems, follow_links=self.follow_links)

    def _class_names(self) -> Path:
        return Path(self.root).resolve() / str(self.class_names)

    def _columns(self, path: Path, problems: list[str]) -> tuple[list[Any], list[Any] | None, list[str]]:
        """Labels, ids where there are any, and the names of the classes that one file tells."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from orchestrator.datasets.parquet_cells import column_of

        try:
            metadata = pq.read_metadata(path)
            if metadata.num_rows > path.stat().st_size:  # repeated values cost nothing in a file, and memory here
                problems.append(f"{path.name}: {metadata.num_rows:,} rows in {path.stat().st_size:,} bytes")
                return [], None, []
            schema = metadata.schema.to_arrow_schema()
            image = _type_of(schema, self.image_column)
            wanted = [name for name in (self.label_column, self.id_column) if name is not None]
            for name in [self.image_column, *wanted]:
                if _type_of(schema, name) is None:
                    problems.append(f"{path.name}: no column {name}; there are {', '.join(schema.names)}")
                    return [], None, []
            if image not in (pa.binary(), pa.large_binary()):
                problems.append(f"{path.name}: {self.image_column} is of type {image}, not binary")
            table = pq.ParquetFile(path).read(columns=wanted)
        except (pa.ArrowException, OSError) as error:
            problems.append(f"{path}: {error}")
            return [], None, []
        labels = column_of(table, self.label_column)
        if labels.null_count or not (pa.types.is_integer(labels.type) or pa.types.is_string(labels.type)):
            problems.append(f"{path.name}: {self.label_column} is no column of numbers or names, each there")
        ids = None if self.id_column is None else column_of(table, self.id_column).to_pylist()
        return labels.to_pylist(), ids, _names_of_hub(schema, self.label_column)


def _type_of(schema: Any, column: str) -> Any:
    """The type of a column by its dotted name, or None."""
    top, *fields = column.split(".")
    if top not in schema.names:
        return None
    found = schema.field(top).type
    for field in fields:
        if not hasattr(found, "get_field_index") or found.get_field_index(field) < 0:
            return None
        found = found.field(field).type
    return found


def _names_of_hub(schema: Any, column: str) -> list[str]:
    """The class names in the metadata that the `datasets` library writes."""
    told = (schema.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(told)["info"]["features"][column]["names"] if told else []
    except (ValueError, RecursionError, KeyError, TypeError):  # the file tells none, or what no hub would write
        names = []
    return [str(name) for name in names] if isinstance(names, list) else []
