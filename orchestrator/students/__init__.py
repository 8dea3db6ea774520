"""What is trained: one settings file per student family, and the union of the settings.

Holds the union only; the networks are in `networks/`. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.timm_student import TimmStudentSettings
from orchestrator.students.tiny import TinyStudentSettings

StudentSettings = Annotated[TimmStudentSettings | TinyStudentSettings, Field(discriminator="kind")]

__all__ = ["AdaptorSettings", "StudentSettings", "TimmStudentSettings", "TinyStudentSettings"]
