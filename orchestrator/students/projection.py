"""Settings of the simplest student: one linear map for each modality of its teachers.

Holds the settings of one kind. Reads and writes nothing; the network is in networks/two_tower/.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.two_tower import TwoTowerSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.two_tower.student import TwoTowerStudent


class ProjectionStudentSettings(TwoTowerSettings):
    """Linear(teacher -> 256) for images, and for texts ("SimpleProjection" of "Visual Model Distillation")."""

    kind: Literal["projection"] = "projection"
    image_input: Literal["teacher_image", "teacher_feature"] = Field(
        default="teacher_image",
        description="which of the teacher's rows the image side reads: the embedding, or the pooled feature before it",
    )

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "TwoTowerStudent":
        width = self.image_width(self.kind, self.image_input, context)
        return self.two_towers(context, image_input=self.image_input, width=width)
