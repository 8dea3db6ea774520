"""Settings of neuron selectivity transfer.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/nst.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.nst import NeuronSelectivityTransfer


class NSTSettings(Frozen):
    """Squared maximum mean discrepancy of the channels' unit maps, kernel (a.b)^2: Huang and Wang 2017 (NST).

    The weight is mdistiller's. The larger map is average-pooled to the smaller.
    """

    kind: Literal["nst"] = "nst"
    weight: float = Field(default=50.0, ge=0)

    def build(self, context: LossContext) -> "NeuronSelectivityTransfer":
        from orchestrator.losses.formulas.nst import NeuronSelectivityTransfer

        dims_of_pair(self.kind, "map", context)
        return NeuronSelectivityTransfer()
