"""The tiny student: three convolutions, a mean over positions, a linear classifier.

Holds one network. Reads and writes nothing. Knows nothing of losses.
"""

from itertools import pairwise

from torch import Tensor, nn


class TinyStudent(nn.Module):
    """images [N, in_chans, S, S] -> (logits [N, C], feature [N, 4 * width]), S >= 1."""

    def __init__(self, num_classes: int, *, width: int = 16, in_chans: int = 3) -> None:
        super().__init__()
        channels = (in_chans, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.backbone = nn.Sequential(*layers)
        self.feature_dim = channels[-1]
        self.classifier = nn.Linear(self.feature_dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.backbone(images).mean(dim=(2, 3))
        return self.classifier(feature), feature
