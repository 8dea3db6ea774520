"""The cosine classifier of ProCo: a learnt direction for each class.

Holds one module. Reads and writes nothing.
"""

import torch
from torch import Tensor, nn


class CosineClassifier(nn.Module):
    """x [N, d] -> scale * u(x) . u(W_c) [N, C], without bias (ProCo; methods 3.1)."""

    def __init__(self, feature_dim: int, num_classes: int, *, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(
            nn.functional.normalize(torch.empty(num_classes, feature_dim).uniform_(-1, 1), dim=1)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """See the class."""
        normalize = nn.functional.normalize
        return self.scale * normalize(feature, dim=1) @ normalize(self.weight, dim=1).T
