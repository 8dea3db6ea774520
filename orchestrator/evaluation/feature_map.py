"""Features of a few named classes on a plane (t-SNE), to see which space separates them.

Holds which images are drawn and where they come to lie; the figure itself is made by `reporting`. Reads and writes
nothing. Source: methods 2.9 (VLM-KD's feature plots; perplexity, metric and seed recommended there).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from orchestrator.evaluation.unit_vectors import Vectors, unit_vectors

IMAGES_PER_CLASS: Final = 5
PERPLEXITY: Final = 10.0
PLOTTED_CLASSES: Final = (  # of ImageNet, in the paper's order; draw the same for image teacher, texts and class names
    "dragonfly", "leafhopper", "refrigerator", "iron", "brassiere", "overskirt", "killer whale", "polecat",
    "breastplate", "pot",
)  # fmt: skip


def drawn_rows(
    label: Sequence[int], classes: Sequence[int], per_class: int = IMAGES_PER_CLASS, seed: int = 0
) -> list[int]:
    """Random images of each of these classes, in the order of `classes`; all of a class that has no more.

    A class's draw depends on the seed and the class alone, so that another set of classes shows the same images.
    """
    numbers = np.asarray(label)
    chosen: list[int] = []
    for number in classes:
        members = np.flatnonzero(numbers == number)
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        chosen += sorted(generator.permutation(members)[:per_class].tolist())
    return chosen


def plane(features: Vectors, perplexity: float = PERPLEXITY, seed: int = 0) -> npt.NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008, scikit-learn) of features [n, D] by cosine: coordinates [n, 2].

    Equal features and seed give equal coordinates. The perplexity is at most (n - 1) / 3, beyond which every point
    would be every other's neighbour. Distances between far groups mean nothing.
    """
    from sklearn.manifold import TSNE

    rows = unit_vectors(features).cpu().numpy()
    assert len(rows) >= 4, "a plane of fewer than four points shows nothing"
    model = TSNE(perplexity=min(perplexity, (len(rows) - 1) / 3), metric="cosine", init="random", random_state=seed)
    coordinates: npt.NDArray[np.float32] = model.fit_transform(rows)
    return coordinates
