"""Settings of attention transfer.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/attention_transfer.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.attention_transfer import AttentionTransfer


class AttentionTransferSettings(Frozen):
    """Distance of the unit maps mean |F|^power of student and teacher: Zagoruyko and Komodakis 2017.

    `form: code` is the mean square over images and positions, which their code and mdistiller (weight 1000) compute;
    `paper` the mean over images of the distance itself. The larger map is average-pooled to the smaller.
    """

    kind: Literal["attention_transfer"] = "attention_transfer"
    weight: float = Field(default=1000.0, ge=0)
    power: float = Field(default=2.0, ge=1, le=8)
    form: Literal["code", "paper"] = "code"

    def build(self, context: LossContext) -> "AttentionTransfer":
        from orchestrator.losses.formulas.attention_transfer import AttentionTransfer

        dims_of_pair(self.kind, "map", context)
        return AttentionTransfer(power=self.power, form=self.form)
