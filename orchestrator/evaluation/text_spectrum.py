"""How many directions a set of texts uses: eigenvalues, effective rank, and how near its texts lie to one another.

Holds pure functions. Reads and writes nothing. Definitions: methods 1.10 (Li et al. 2023; detail recommended there).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.evaluation.unit_vectors import Vectors, mask_own, row_blocks, unit_vectors

LARGE_FRACTION = 0.01  # an eigenvalue counts as large above this fraction of the largest
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TextSpectrum:
    """The spectrum of one kind of text.

    Attributes:
        eigenvalues: [min(C, D)] of the centred covariance (over C), descending; what is plotted, on a log axis.
        singular_values: [min(C, D)] of the matrix of unit texts, not centred, descending.
        mean_nearest_cosine: mean over texts of the cosine to the nearest other text; NaN with one text.
    """

    eigenvalues: Values
    singular_values: Values
    mean_nearest_cosine: float

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the eigenvalues' shares (Roy and Vetterli 2007), 1..min(C, D); NaN without variance."""
        if not self._varies:
            return math.nan
        share = self.eigenvalues / self.eigenvalues.sum()
        share = share[share > 0]
        return float(np.exp(-(share * np.log(share)).sum()))

    @property
    def participation_ratio(self) -> float:
        """Squared sum of the eigenvalues over the sum of their squares, 1..min(C, D); NaN without variance."""
        if not self._varies:
            return math.nan
        return float(self.eigenvalues.sum() ** 2 / np.square(self.eigenvalues).sum())

    @property
    def num_large(self) -> int:
        """Eigenvalues above 1 % of the largest."""
        return int((self.eigenvalues > LARGE_FRACTION * self.eigenvalues[0]).sum()) if self._varies else 0

    @property
    def _varies(self) -> bool:
        return bool(self.eigenvalues.sum() > 1e-12)  # equal float32 texts leave 1e-14 of rounding

    def values(self) -> dict[str, float]:
        """The numbers by name."""
        return {
            "effective_rank": self.effective_rank,
            "participation_ratio": self.participation_ratio,
            "num_large_eigenvalues": float(self.num_large),
            "mean_nearest_cosine": self.mean_nearest_cosine,
        }


def text_spectrum(text: Vectors) -> TextSpectrum:
    """The spectrum of texts [C, D], one row for each class (or each distinct caption); computed in float64."""
    rows = unit_vectors(text, torch.float64)
    assert len(rows) > 0, "at least one text"
    centred = rows - rows.mean(0)
    eigenvalues = torch.linalg.svdvals(centred).square() / len(rows)
    singular_values = torch.linalg.svdvals(rows)
    nearest = 0.0
    for block in row_blocks(len(rows), len(rows)):
        cosines = mask_own(rows[block] @ rows.T, block.start, -math.inf)
        nearest += float(cosines.max(1).values.sum())
    mean_nearest = nearest / len(rows) if len(rows) > 1 else math.nan
    return TextSpectrum(eigenvalues.cpu().numpy(), singular_values.cpu().numpy(), mean_nearest)
