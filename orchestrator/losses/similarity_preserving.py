"""Settings of similarity-preserving distillation.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/similarity_preserving.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import Output, dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.similarity_preserving import SimilarityPreserving


class SimilarityPreservingSettings(Frozen):
    """Squared distance of the row-normalised Gram matrices, over N^2: Tung and Mori 2019 (SP).

    `output` is what it compares: pooled features, or flattened maps (the paper and mdistiller, whose weight this is).
    `row_norm: l1` is what torchdistill computes. Rows are those of all workers, or of the worker's own batch (as the
    codes do).
    """

    kind: Literal["similarity_preserving"] = "similarity_preserving"
    weight: float = Field(default=3000.0, ge=0)
    output: Output = "feature"
    row_norm: Literal["l2", "l1"] = "l2"
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "SimilarityPreserving":
        from orchestrator.losses.formulas.similarity_preserving import SimilarityPreserving

        dims_of_pair(self.kind, self.output, context)
        return SimilarityPreserving(output=self.output, row_norm=self.row_norm, negatives=self.negatives)
