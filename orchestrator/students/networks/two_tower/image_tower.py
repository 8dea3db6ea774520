"""The student of raw images with a text side: a timm backbone, a bottleneck into the joint space, one for texts.

Holds one network and its construction. Reads a checkpoint where one is given; writes nothing. Knows nothing of losses.
"""

from typing import TYPE_CHECKING, Any

import timm
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.networks.student import IMAGE, ImageStudent
from orchestrator.students.networks.timm_student import CLASSIFIER, load_checkpoint
from orchestrator.students.networks.two_tower.student import TextSide, bottleneck

if TYPE_CHECKING:
    from orchestrator.students.context import StudentContext
    from orchestrator.students.image_tower import ImageTowerSettings


class ImageTowerStudent(ImageStudent):
    """images [N, 3, S, S] and texts [N, Q, e] -> what an image student makes, and student_text."""

    backbone: Any

    def __init__(self, backbone: nn.Module, *, feature_dim: int, map_dim: int) -> None:
        super().__init__(backbone, feature_dim=feature_dim, map_dim=map_dim)
        self.text_side: TextSide | None = None

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageStudent`."""
        positions = self.backbone.forward_features(images)
        return self.backbone.forward_head(positions, pre_logits=True), positions

    def forward(self, images: Tensor, text: Tensor | None = None) -> dict[str, Tensor]:
        """See the class."""
        made = super().forward(images)
        if self.text_side is not None and text is not None:
            made[v.STUDENT_TEXT] = self.text_side.of_images(text)
        return made

    def class_embeddings(self, class_text: Tensor) -> Tensor | None:
        """See `Student`: by the text side, where there is one."""
        if self.text_side is None:
            return super().class_embeddings(class_text)
        return self.text_side.of_classes(class_text)

    def makes(self) -> set[str]:
        """See `Student`."""
        return super().makes() | ({v.STUDENT_TEXT} if self.text_side is not None else set())

    def heads(self) -> dict[str, nn.Module]:
        """See `Student`."""
        return super().heads() | ({v.STUDENT_TEXT: self.text_side} if self.text_side is not None else {})


def build_image_tower(
    settings: "ImageTowerSettings", name: str, context: "StudentContext", adaptor: AdaptorSettings
) -> ImageTowerStudent:
    """The student with fresh weights, timm's pretrained ones, or those of a checkpoint.

    Raises:
        ConfigError: a head that cannot be built.
        ArtifactError: a checkpoint that does not fit.
    """
    backbone: Any = timm.create_model(name, pretrained=settings.pretrained, num_classes=context.num_classes)
    own_classifier = backbone.get_classifier()
    native = next(name for name, module in backbone.named_modules() if module is own_classifier)
    backbone.reset_classifier(0)
    width: int = backbone.num_features
    student = ImageTowerStudent(backbone, feature_dim=width, map_dim=width)
    student.add_heads(settings, context, adaptor, own_classifier)
    if student.embedding is not None:
        student.embedding = bottleneck(width, settings.bottleneck_dim, student.embedding_dim)
        if settings.text_side and context.text_dim:
            projection = bottleneck(context.text_dim, settings.bottleneck_dim, student.embedding_dim)
            student.text_side = TextSide(context.text_dim, projection, all_texts=settings.texts == "all")
            student.reads = (IMAGE, v.TEXT)
    if settings.checkpoint is not None:
        load_checkpoint(student, {native: CLASSIFIER}, settings.checkpoint)
    return student
