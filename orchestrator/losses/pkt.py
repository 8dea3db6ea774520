"""Settings of probabilistic knowledge transfer.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/pkt.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import Output, dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.pkt import ProbabilisticKnowledgeTransfer


class PKTSettings(Frozen):
    """Divergence of the neighbour probabilities (cosine + 1) / 2 by row, mean over N^2: Passalis and Tefas 2018 (PKT).

    The weight is mdistiller's. Rows are those of all workers, or of the worker's own batch (as the codes do).
    """

    kind: Literal["pkt"] = "pkt"
    weight: float = Field(default=30000.0, ge=0)
    output: Output = Field(
        default="feature", description="what is compared: the pooled feature, or the backbone's last map"
    )
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "ProbabilisticKnowledgeTransfer":
        from orchestrator.losses.formulas.pkt import ProbabilisticKnowledgeTransfer

        dims_of_pair(self.kind, self.output, context)
        return ProbabilisticKnowledgeTransfer(self.output, self.negatives)
