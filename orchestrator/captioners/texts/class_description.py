"""Texts of kind `class_description`: what the data set itself says of each class.

Reads the table of classes. Knows nothing of encoders.
"""

from typing import TYPE_CHECKING, Literal

from orchestrator.captioners.texts.source import ClassTextSource, Group
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


class ClassDescriptionText(ClassTextSource):
    """The data set's description of the class (the embedded world has them; a class-names file may)."""

    kind: Literal["class_description"] = "class_description"

    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """See `ClassTextSource`.

        Raises:
            DataError: the data set does not describe all of its classes.
        """
        if absent := classes["description"].null_count:
            raise DataError(
                f"texts of kind {self.kind}: the data set has no description of {absent} of its "
                f"{classes.num_rows} classes",
                expected="another kind of text",
                remedy="kind description_files reads descriptions, kind written_description lets a model write them",
            )
        return [(text,) for text in classes["description"].to_pylist()]
