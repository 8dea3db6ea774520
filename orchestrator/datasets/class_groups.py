"""Which labels are whose: seen classes first, then validation classes, then those that are the report's alone.

Holds one value object. Reads and writes nothing. Knows nothing of images.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from orchestrator.vocabulary import SPLIT_REPORT

VALIDATION = pa.field("validation", pa.bool_(), nullable=False)  # a column of the classes, where some are such


@dataclass(frozen=True)
class ClassGroups:
    """The classes of a data set in the order of their labels.

    Attributes:
        num_seen: in training; without an OOD split all of them.
        num_validation: unseen in training; what is chosen for unseen classes is chosen on them. Their images are of
            the selection split.
        num_classes: of all three groups; the rest are the report's unseen classes.
    """

    num_seen: int
    num_validation: int
    num_classes: int

    @classmethod
    def of_table(cls, classes: pa.Table) -> Self:
        """As the classes of an index say."""
        names = classes.column_names
        seen, validation = (
            int(np.count_nonzero(classes[name].to_numpy(zero_copy_only=False))) if name in names else 0
            for name in ("seen", VALIDATION.name)
        )
        return cls(seen, validation, classes.num_rows)

    @property
    def seen(self) -> range:
        """Labels of the classes that are trained."""
        return range(self.num_seen)

    @property
    def validation(self) -> range:
        """Labels of the validation classes; empty without any."""
        return range(self.num_seen, self.num_seen + self.num_validation)

    @property
    def unseen(self) -> range:
        """Labels of the report's unseen classes; empty without an OOD split."""
        return range(self.validation.stop, self.num_classes)

    def told_apart(self, split: str) -> range:
        """Among which classes a split's images are told apart; in the selection split those of seen classes."""
        return self.unseen if self.unseen and split == SPLIT_REPORT else self.seen
