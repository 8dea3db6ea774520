"""Settings of the tiny student: three convolutions, for smoke tests and small images.

Holds the settings of one kind. Reads and writes nothing; the network is in networks/tiny.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.heads import ImageStudentSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.tiny import TinyStudent


class TinyStudentSettings(ImageStudentSettings):
    """Three 3x3 convolutions of stride 2 with `width`, 2 * width and 4 * width channels; feature width 4 * width."""

    kind: Literal["tiny"] = "tiny"
    width: int = Field(default=16, ge=1, le=1024)
    in_chans: int = Field(default=3, ge=1)

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "TinyStudent":
        from orchestrator.students.networks.tiny import TinyStudent

        return TinyStudent(self, context, adaptor or AdaptorSettings())
