"""Settings of the tiny student: three convolutions, for smoke tests and small images.

Holds the settings of one kind. Reads and writes nothing; the network is in networks/tiny.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen

if TYPE_CHECKING:
    from orchestrator.students.networks.tiny import TinyStudent


class TinyStudentSettings(Frozen):
    """Three 3x3 convolutions of stride 2 with `width`, 2 * width and 4 * width channels; feature width 4 * width."""

    kind: Literal["tiny"] = "tiny"
    width: int = Field(default=16, ge=1, le=1024)
    in_chans: int = Field(default=3, ge=1)

    def build(self, num_classes: int) -> "TinyStudent":
        from orchestrator.students.networks.tiny import TinyStudent

        return TinyStudent(num_classes, width=self.width, in_chans=self.in_chans)
