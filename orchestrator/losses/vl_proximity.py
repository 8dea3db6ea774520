"""Settings of L_vlprox of the OOD paper: the student keeps the teacher's proximities of an image and the class texts.

Holds the settings of one kind. Reads and writes nothing; the formula is in formulas/vl_proximity.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.vl_proximity import VLProximity


class VLProximitySettings(Frozen):
    """L_vlprox (in the code: vlalign): KL(teacher || student) over the teacher's `k` nearest class texts of an image.

    Li et al., ICCV 2023; official code. `axis: images` takes instead, for each class text, the k nearest images of the
    batch, and the mean over the classes (research script). k is capped at what there is. The mean is over the images
    that `filter` keeps; where it keeps none the value is 0 with zero gradient (the official code: NaN). To train
    without L_cls (the code's `only_proximal`) leave `embedding_cross_entropy` out.

    Filters, on the teacher's own classification of the image against the class texts:
    * `none`: all images (not `off`, which YAML reads as false).
    * `teacher_correct`: its arg-max is the label (the paper's, and on in all published commands).
    * `teacher_probability`: its probability of the label is at least `min_probability`.
    * `batch_percentile`: that probability is at or above this `percentile` of the batch's.
    * `train_percentile`: the same of the training set's, as far as it was seen: the latest probability of each image
      is remembered, so that the threshold is the training set's from the end of the first epoch on.
    `filter_temperature` divides the cosines of that probability: 0.01 is CLIP's own, while at 0.07 hardly any label of
    many is probable; the arg-max does not depend on it.

    `negatives` says whose images the batch is (for the candidates of `axis: images`, the mean and the percentile).
    """

    kind: Literal["vl_proximity"] = "vl_proximity"
    weight: float = Field(default=1.0, ge=0)
    k: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.07, gt=0)
    axis: Literal["classes", "images"] = "classes"
    filter: Literal["none", "teacher_correct", "teacher_probability", "batch_percentile", "train_percentile"] = (
        "teacher_correct"
    )
    filter_temperature: float = Field(default=0.01, gt=0)
    min_probability: float = Field(default=0.5, ge=0, le=1)
    percentile: float = Field(default=25.0, ge=0, le=100)
    negatives: Literal["global", "per_worker"] = "global"

    def build(self, context: LossContext) -> "VLProximity":
        from orchestrator.losses.formulas.vl_proximity import VLProximity

        require_joint_space(self.kind, context)
        if self.filter == "train_percentile" and context.num_images == 0:
            raise ConfigError(
                "vl_proximity cannot remember the training set's probabilities: its number of images is unknown",
                remedy="use filter: batch_percentile",
            )
        return VLProximity(
            k=self.k,
            temperature=self.temperature,
            axis=self.axis,
            image_filter=self.filter,
            filter_temperature=self.filter_temperature,
            min_probability=self.min_probability,
            percentile=self.percentile,
            num_images=context.num_images,
            negatives=self.negatives,
        )
