"""Settings of the neighbourhood KL: the student keeps the teacher's similarities among near images.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/neighbourhood_kl.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.neighbourhood_kl import NeighbourhoodKL


class NeighbourhoodKLSettings(Frozen):
    """KL(teacher || student) of the image similarities over the teacher's `k` most similar images of the batch.

    From the deleted research script of the OOD paper's code (Li et al., ICCV 2023), where it stands beside L_im-cst:
    what the metric M_neigh measures, made trainable. The image itself is one of the k; k is capped at the batch. The
    script took `negatives: per_worker`. Student and teacher may have embeddings of different widths.
    """

    kind: Literal["neighbourhood_kl"] = "neighbourhood_kl"
    weight: float = Field(default=1.0, ge=0)
    k: int = Field(default=10, ge=1)
    temperature: float = Field(default=0.07, gt=0)
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "NeighbourhoodKL":
        from orchestrator.losses.formulas.neighbourhood_kl import NeighbourhoodKL

        return NeighbourhoodKL(k=self.k, temperature=self.temperature, negatives=self.negatives)
