"""Texts of kind `written_description`: a language model describes each class, in one of three levels of detail.

Reads the table that the stage `describe` makes. Knows nothing of models. Source: methods 1.7.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.captioners.texts.description_files import enriched
from orchestrator.captioners.texts.source import ClassTextSource, Group
from orchestrator.errors import ArtifactError

if TYPE_CHECKING:
    import pyarrow as pa


class WrittenDescriptionText(ClassTextSource):
    """`a photo of {name} . {description}`, the description written by the experiment's describer without an image."""

    kind: Literal["written_description"] = "written_description"
    level: Literal["short", "medium", "long"] = Field(
        default="short", description="how much the describer is asked to write"
    )

    @property
    def names_classes(self) -> bool:
        """See `TextSource`."""
        return True

    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """See `ClassTextSource`.

        Raises:
            ArtifactError: the stage `describe` has not written about every class at this level.
        """
        columns = [] if descriptions is None else [descriptions[name] for name in ("label", "level", "description")]
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        written = {label: text for label, level, text in rows if level == self.level}
        if absent := [str(label) for label in range(classes.num_rows) if label not in written]:
            raise ArtifactError(
                f"no description at level {self.level} of classes {', '.join(absent[:10])}",
                expected="one of every class",
                remedy="run the stage describe",
            )
        return [(enriched(name, written[label]),) for label, name in enumerate(classes["name"].to_pylist())]
