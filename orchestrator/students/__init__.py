"""What is trained: one settings file per student family, and the union of the settings.

Holds the union only; the networks are in `networks/`. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.attention import AttentionStudentSettings
from orchestrator.students.bottleneck import BottleneckStudentSettings
from orchestrator.students.cbam import CbamStudentSettings
from orchestrator.students.densenet_embedding import DensenetEmbeddingStudentSettings
from orchestrator.students.projection import ProjectionStudentSettings
from orchestrator.students.resnet_embedding import ResnetEmbeddingStudentSettings
from orchestrator.students.timm_student import TimmStudentSettings
from orchestrator.students.tiny import TinyStudentSettings

StudentSettings = Annotated[
    AttentionStudentSettings
    | BottleneckStudentSettings
    | CbamStudentSettings
    | DensenetEmbeddingStudentSettings
    | ProjectionStudentSettings
    | ResnetEmbeddingStudentSettings
    | TimmStudentSettings
    | TinyStudentSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "AdaptorSettings",
    "AttentionStudentSettings",
    "BottleneckStudentSettings",
    "CbamStudentSettings",
    "DensenetEmbeddingStudentSettings",
    "ProjectionStudentSettings",
    "ResnetEmbeddingStudentSettings",
    "StudentSettings",
    "TimmStudentSettings",
    "TinyStudentSettings",
]
