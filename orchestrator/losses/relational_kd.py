"""Settings of relational knowledge distillation.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/relational_kd.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.output_pair import Output, dims_of_pair

if TYPE_CHECKING:
    from orchestrator.losses.formulas.relational_kd import RelationalKD


class RelationalKDSettings(Frozen):
    """distance_weight * smooth L1 of scaled distances + angle_weight * smooth L1 of angles: Park et al. 2019 (RKD).

    Distances are divided by their mean over the non-zero ones. The weights are mdistiller's; torchdistill's sheets have
    1 and 2. Angles are over all triples of rows: a part of weight 0 is not computed. Rows are those of all workers,
    each computing the angles at its own, or of the worker's own batch (as the codes do).
    """

    kind: Literal["relational_kd"] = "relational_kd"
    weight: float = Field(default=1.0, ge=0)
    output: Output = Field(
        default="feature", description="what is compared: the pooled feature, or the backbone's last map"
    )
    distance_weight: float = Field(
        default=25.0, ge=0, description="of the distances between pairs of images; 0 leaves them out"
    )
    angle_weight: float = Field(default=50.0, ge=0, description="of the angles of triples of images; 0 leaves them out")
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.distance_weight == 0 and self.angle_weight == 0:
            raise ValueError("distance_weight and angle_weight are both 0: remove the loss, or set its weight to 0")
        return self

    def build(self, context: LossContext) -> "RelationalKD":
        from orchestrator.losses.formulas.relational_kd import RelationalKD

        dims_of_pair(self.kind, self.output, context)
        return RelationalKD(
            output=self.output,
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
            negatives=self.negatives,
        )
