"""Settings of the ResNet-18 student: raw images and the teacher's texts in one space.

Holds the settings of one kind. Reads the checkpoint when one is given; writes nothing; the network is in
networks/two_tower/image_tower.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.image_tower import ImageTowerSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.two_tower.image_tower import ImageTowerStudent


class ResnetEmbeddingStudentSettings(ImageTowerSettings):
    """ResNet-18 without its classifier, 128 -> 256; texts likewise ("ResNet-based" of "Visual Model Distillation")."""

    kind: Literal["resnet_embedding"] = "resnet_embedding"
    name: Literal["resnet18", "resnet34", "resnet50"] = Field(
        default="resnet18", description="the backbone, as timm has it"
    )

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "ImageTowerStudent":
        from orchestrator.students.networks.two_tower.image_tower import build_image_tower

        return build_image_tower(self, self.name, context, adaptor or AdaptorSettings())
