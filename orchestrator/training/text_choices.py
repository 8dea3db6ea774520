"""Several texts of an image, of which each pass over the data draws one. Reads and writes nothing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class TextChoices:
    """Several texts of each image: those of image i are `values[offsets[i] : offsets[i + 1]]`, rows of unique texts.

    `values` ends with a -1 that belongs to no image.
    """

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "TextChoices":
        """From a column of lists."""
        lists = column.combine_chunks()
        values = np.append(lists.flatten().to_numpy(), -1)
        return cls(np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())]).astype(np.int64), values)

    def draw(self, rows: npt.NDArray[np.int64], chance: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """One of each image's texts by numbers in [0, 1), -1 where it has none."""
        start, count = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        chosen = start + (chance * count).astype(np.int64)
        return np.where(count > 0, self.values[chosen], -1)

    def first(self) -> npt.NDArray[np.int64]:
        """The first text of each image, -1 where it has none."""
        every = np.arange(len(self.offsets) - 1)
        return self.draw(every, np.zeros(len(every)))
