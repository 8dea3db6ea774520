"""The classifier that is put on an image encoder: a linear one, on unit embeddings.

Imported by `build` functions and by training only, because it imports torch. Knows nothing of encoders.
"""

import torch
from torch import Tensor, nn

RANDOM_NORM = 1 / 0.07  # expected length of a class's weights that begin at random: CLIP's first scale of cosines


class ClassHead(nn.Linear):
    """Unit embedding [N, e] -> logits [N, C], float32.

    It begins at random, or as zero-shot classification: the class-text embeddings times the scale of cosines, bias 0
    (methods 16.3; Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). The scale is thus part of the
    weights, so that a learning rate of 1e-3 moves a class's direction gently.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__(dim, num_classes)
        with torch.no_grad():
            self.weight.normal_(std=RANDOM_NORM * dim**-0.5)
            self.bias.zero_()

    def begin_with(self, class_vectors: Tensor, scale: float) -> None:
        """Classify as the class texts do: `class_vectors` [C, e], unit."""
        with torch.no_grad():
            self.weight.copy_(scale * class_vectors)

    def forward(self, embedding: Tensor) -> Tensor:
        """See the class."""
        return super().forward(embedding.float())
