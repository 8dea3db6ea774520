"""Settings of LADE's regulariser: label distribution disentangling.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/lade.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.lade import Lade


class LadeSettings(Frozen):
    """LADER of Hong et al. 2021, to be added to a cross-entropy; negative values are normal. Labels must be hard.

    `remine_lambda` weighs the square that keeps the Donsker-Varadhan bound from drifting. `negatives`: the bound and
    the classes' means are taken over the rows of all workers, or of the worker's own batch (as the official code does).
    """

    kind: Literal["lade"] = "lade"
    weight: float = Field(default=1.0, ge=0)
    remine_lambda: float = Field(default=0.1, ge=0)
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "Lade":
        from orchestrator.losses.formulas.lade import Lade

        return Lade(context.class_count, remine_lambda=self.remine_lambda, negatives=self.negatives)
