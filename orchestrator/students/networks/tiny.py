"""The tiny student: three convolutions, a mean over positions, a linear classifier.

Holds one network. Reads and writes nothing. Knows nothing of losses.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from orchestrator.students.networks.student import ImageStudent

if TYPE_CHECKING:
    from orchestrator.students.adaptor import AdaptorSettings
    from orchestrator.students.context import StudentContext
    from orchestrator.students.tiny import TinyStudentSettings


class TinyStudent(ImageStudent):
    """images [N, in_chans, S, S], S >= 1; feature [N, 4 * width] is the mean of the map over positions."""

    def __init__(self, settings: "TinyStudentSettings", context: "StudentContext", adaptor: "AdaptorSettings") -> None:
        channels = (settings.in_chans, settings.width, 2 * settings.width, 4 * settings.width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        super().__init__(nn.Sequential(*layers), feature_dim=channels[-1], map_dim=channels[-1])
        own_classifier = nn.Linear(self.feature_dim, context.num_classes)
        self.add_heads(settings, context, adaptor, own_classifier)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageStudent`."""
        positions = self.backbone(images)
        return positions.mean(dim=(2, 3)), positions
