"""What stands before a projection: nothing, self-attention, or CBAM blocks, on a teacher's pooled rows or its map.

Holds one module for each, all of which give (feature [N, d], map [N, d, h, w] or None). Reads and writes nothing. Rows
never see one another. Knows nothing of losses.
"""

from typing import Any

from timm.layers.cbam import CbamModule
from torch import Tensor, nn

from orchestrator.errors import ConfigError


class Unchanged(nn.Module):
    """The rows themselves, [N, d]; there is no map, and no feature of the student's own."""

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        return rows, None


class SelfAttention(nn.Module):
    """Multi-head self-attention of an image's tokens among themselves; the feature is their mean.

    [N, d] is a sequence of one token for each row, never one sequence of N tokens; [N, d, h, w] is h * w tokens for
    each row, and comes back as a map.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(
                f"student attention of {num_heads} heads cannot share a width of {width}",
                expected="num_heads that divides the teacher's width",
            )
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens = rows[:, None] if rows.ndim == 2 else rows.flatten(2).transpose(1, 2)
        attended = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        if rows.ndim == 2:
            return attended[:, 0], None
        return attended.mean(dim=1), attended.transpose(1, 2).unflatten(2, rows.shape[2:])


class CbamBlocks(nn.Module):
    """CBAM blocks in a row (Woo et al. 2018) as timm has them: BatchNorm after the spatial convolution, no biases.

    Each: x * sigmoid(MLP(mean) + MLP(max)) over positions, MLP d -> ratio * d -> d with ReLU; then x *
    sigmoid(BatchNorm(conv([mean, max]))) over channels. [N, d] is a map of one position; [N, d, h, w] comes back as a
    map.
    """

    def __init__(self, width: int, *, num_blocks: int, ratio: float, kernel_size: int = 7) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            CbamModule(width, rd_ratio=ratio, spatial_kernel_size=kernel_size) for _ in range(num_blocks)
        )

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        positions = rows[:, :, None, None] if rows.ndim == 2 else rows
        has_variance = positions[:, 0].numel() > 1  # of one number there are no batch statistics: the running ones
        block: Any
        for block in self.blocks:
            block.spatial.conv.bn.train(self.training and has_variance)
            positions = block(positions)
        return positions.mean(dim=(2, 3)), positions if rows.ndim == 4 else None
