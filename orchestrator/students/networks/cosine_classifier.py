"""The cosine classifier: the logit of a class is a scaled cosine of the feature and the class's weight.

Holds the formula and its module. Reads and writes nothing. Knows nothing of backbones or losses. Source: the
normalised classifier of the official code of ProCo (Du et al. 2024).
"""

import torch
from torch import Tensor, nn

_SHORTEST = 1e-12  # a vector shorter than this has no direction: its cosines are 0


def cosine_logits(feature: Tensor, weight: Tensor, *, scale: float = 30.0) -> Tensor:
    """scale * u(x) . u(W_c), [N, C] in -scale..scale, of feature [N, d] and weight [C, d].

    A zero vector gives zero logits and a bounded gradient. In float32 or better, also under autocast.
    """
    with torch.autocast(feature.device.type, enabled=False):
        feature, weight = _at_least_float32(feature), _at_least_float32(weight)
        return scale * _unit(feature) @ _unit(weight.to(feature.dtype)).T


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _unit(rows: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > _SHORTEST, length, torch.ones_like(length))


class CosineClassifier(nn.Module):
    """feature [N, d] -> logits [N, C], without bias; weight [C, d] as in nn.Linear.

    Start values: directions of uniform numbers in -1..1, of length 1, as in the official code.
    """

    def __init__(self, feature_dim: int, num_classes: int, *, scale: float = 30.0) -> None:
        super().__init__()
        self.feature_dim, self.num_classes, self.scale = feature_dim, num_classes, scale
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the start values anew."""
        self.weight.copy_(_unit(self.weight.uniform_(-1, 1)))

    def forward(self, feature: Tensor) -> Tensor:
        return cosine_logits(feature, self.weight, scale=self.scale)

    def extra_repr(self) -> str:
        return f"feature_dim={self.feature_dim}, num_classes={self.num_classes}, scale={self.scale:g}"
