"""Settings of DIST: correlation with the teacher's class probabilities, by image and by class.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/dist.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.dist import Dist


class DistSettings(Frozen):
    """tau^2 [inter (1 - mean Pearson over images) + intra (1 - mean Pearson over classes)]: Huang et al. 2022 (DIST).

    Correlations by class run over the rows of all workers, or of the worker's own batch (as the codes do).
    """

    kind: Literal["dist"] = "dist"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    inter_weight: float = Field(
        default=1.0, ge=0, description="of one minus the mean correlation over images (between classes)"
    )
    intra_weight: float = Field(
        default=1.0, ge=0, description="of one minus the mean correlation over classes (between images)"
    )
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.inter_weight == 0 and self.intra_weight == 0:
            raise ValueError("inter_weight and intra_weight are both 0: remove the loss, or set its weight to 0")
        return self

    def build(self, context: LossContext) -> "Dist":
        from orchestrator.losses.formulas.dist import Dist

        return Dist(
            temperature=self.temperature,
            inter_weight=self.inter_weight,
            intra_weight=self.intra_weight,
            negatives=self.negatives,
        )
