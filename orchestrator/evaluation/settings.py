"""What is measured of a finished student besides its accuracy.

Holds settings. Reads and writes nothing.
"""

from typing import Literal

from pydantic import Field

from orchestrator.frozen import Frozen

Measure = Literal[
    "coherence",
    "text_spectrum",
    "neighbours",
    "linear_probe",
    "retrieval",
    "self_match",
    "few_shot_retrieval",
    "calibration",
    "post_hoc",
    "robustness",
    "size",
    "latency",
]


class EvaluationSettings(Frozen):
    """`measures` are taken of each finished student, on the report split unless said otherwise (docs/metrics.md).

    `coherence`: M_rel, M_neigh, M_vlalign and their companions on every split whose images the image teacher has seen.
    `text_spectrum`: effective rank and its companions of the class texts. `neighbours`, `linear_probe`: class accuracy
    of the frozen embedding (of the feature, where there is none). `retrieval`: images to their captions and back.
    `self_match`: a degenerate score, for reproduction alone. `few_shot_retrieval`: unseen classes by their support
    images and `few_shot_copies` augmented copies of each, without training. `calibration`, `robustness`: of its
    probabilities, under corruptions. `post_hoc`: accuracy after corrections for class frequency that need no training:
    logits less `post_hoc_tau` log prior, weights over the power `normalise_taus` (chosen on the select split) of their
    lengths, and logits for a `test_prior` (one number for each class) where there is one, which start at the training
    list's shares, or, with `balanced_logits`, at equal ones (of a logit-adjusted training). `size`, `latency`: what it
    costs.
    """

    measures: tuple[Measure, ...] = ("size",)
    num_neighbours: int = Field(default=10, ge=1, description="k of M_neigh")
    batch_size: int = Field(default=64, ge=2, description="B of in_batch_acc@B")
    few_shot_copies: int = Field(default=9, ge=0, description="of each support image; 0: the images as they are alone")
    post_hoc_tau: float = Field(default=1.0, ge=0)
    normalise_taus: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    test_prior: tuple[float, ...] | None = None
    balanced_logits: bool = False
    max_images: int = Field(default=5000, ge=2, description="of a split, for coherence; evenly spaced rows beyond it")
    latency_batch_sizes: tuple[int, ...] = Field(default=(1, 32), description="at which latency is measured")
    latency_threads: tuple[int, ...] = Field(
        default=(1,), description="of the processor, at each of which latency is measured"
    )
