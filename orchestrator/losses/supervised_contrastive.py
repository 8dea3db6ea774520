"""Settings of SupCon: the views of an image, and the images of its class, against all other images.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/supervised_contrastive.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.losses.context import LossContext
from orchestrator.losses.projection_head import HeadSettings, check_views

if TYPE_CHECKING:
    from orchestrator.losses.formulas.supervised_contrastive import SupervisedContrastive


class SupervisedContrastiveSettings(HeadSettings):
    """The "out" form of Khosla et al. 2020 (Eq. 2): -mean of the log probabilities of an anchor's positives.

    `views` is `all`, or `extra`: views 2 and on, where view 1 is the classifier's alone. An anchor without a positive
    is left out of the mean. The head is the paper's: depth 1, no batch norm. `negatives` are those of all workers, or
    of the worker's own batch.
    """

    kind: Literal["supervised_contrastive"] = "supervised_contrastive"
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)
    views: Literal["all", "extra"] = "all"
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "SupervisedContrastive":
        from orchestrator.losses.formulas.supervised_contrastive import SupervisedContrastive

        check_views(self.kind, context, needed=1 if self.views == "all" else 2)
        return SupervisedContrastive(
            head=self.head_shape(context),
            views=self.views,
            temperature=self.temperature,
            negatives=self.negatives,
        )
