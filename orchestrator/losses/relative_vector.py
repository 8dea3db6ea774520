"""Settings of the relative-vector losses: differences of two images' embeddings follow the teacher's.

Holds the settings of one kind. Reads and writes nothing; the formulas are in formulas/relative_vector.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.relative_vector import RelativeVector


class RelativeVectorSettings(Frozen):
    """One of four losses on the differences of unit embeddings, from the deleted research script of the OOD paper.

    Li et al., ICCV 2023, code only; `variant` is the script's name. `norm_diff_rkd` compares lengths (Huber),
    `norm_diff_ours` the differences themselves, `norm_diff_direction_ours` their directions, `relative_angle_direction`
    the angles of three images, on every second image of the batch. Means run over all pairs, an image with itself
    included, as in the script. With `negatives: global` the batch is that of all workers; the two direction variants
    hold a tensor of (images)² times the embedding's width.
    """

    kind: Literal["relative_vector"] = "relative_vector"
    weight: float = Field(default=1.0, ge=0)
    variant: Literal["norm_diff_rkd", "norm_diff_ours", "norm_diff_direction_ours", "relative_angle_direction"] = (
        "norm_diff_ours"
    )
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "RelativeVector":
        from orchestrator.losses.formulas.relative_vector import RelativeAngle, RelativeVector

        if self.variant in ("norm_diff_ours", "norm_diff_direction_ours"):  # the others compare lengths and angles
            require_joint_space(self.kind, context)
        if self.variant == "relative_angle_direction":
            return RelativeAngle(negatives=self.negatives)
        return RelativeVector(variant=self.variant, negatives=self.negatives)
