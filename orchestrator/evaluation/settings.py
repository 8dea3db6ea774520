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
    "robustness",
    "size",
    "latency",
]


class EvaluationSettings(Frozen):
    """`measures` are taken of each finished student, on the report split unless said otherwise (docs/evaluation.md).

    `coherence`: M_rel, M_neigh, M_vlalign and their companions on every split whose images the image teacher has seen.
    `text_spectrum`: effective rank and its companions of the class texts. `neighbours`, `linear_probe`: class accuracy
    of the frozen embedding (of the feature, where there is none). `retrieval`: images to their captions and back.
    `self_match`: a degenerate score, for reproduction alone. `few_shot_retrieval`: unseen classes by their support
    images, without training. `calibration`, `robustness`: of its probabilities, under corruptions. `size`, `latency`:
    what it costs.
    """

    measures: tuple[Measure, ...] = ("size",)
    num_neighbours: int = Field(default=10, ge=1, description="k of M_neigh")
    batch_size: int = Field(default=64, ge=2, description="B of in_batch_acc@B")
    max_images: int = Field(default=5000, ge=2, description="of a split, for coherence; evenly spaced rows beyond it")
    latency_batch_sizes: tuple[int, ...] = (1, 32)
    latency_threads: tuple[int, ...] = (1,)
