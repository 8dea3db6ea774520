"""What is kept of a finished cell: one small file that outlives its run, and what its numbers count for.

A cell is one arm of a group on one seed. Reads and writes `FOLDER/SCALE/GROUP/ARM/seed-N.json`. Knows nothing of how
cells are made.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.reproduction import LEAST_EPOCHS, LEAST_SEEDS, SPACES, TEACHER, Column, Scale
from orchestrator.evaluation.paired import paired_difference
from orchestrator.frozen import Frozen


class CellRecord(Frozen):
    """A finished cell.

    Attributes:
        experiment: fingerprint of the settings that made it, seeds and places of files apart.
        epochs: of its training and of those that it started from.
        seconds: of training and evaluation, wall time beside whatever else the machine did.
        values: every accuracy and measure of its evaluation that is a number.
    """

    scale: str
    group: str
    arm: str
    seed: int
    experiment: str
    epochs: int
    seconds: float
    finished_utc: str
    hardware: str
    engine: str
    command: str
    version: str
    values: dict[str, float]


class CellRecords:
    """The records below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: CellRecord) -> None:
        """Keep a record; another one of the same cell is replaced."""
        folder = self._of(record.scale, record.group, record.arm)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"seed-{record.seed}.json", record.model_dump(mode="json"))

    def read(self, scale: str, group: str, arm: str) -> list[CellRecord]:
        """All seeds of a cell, in order."""
        files = self._of(scale, group, arm).glob("seed-*.json")
        return sorted((CellRecord.model_validate(read_json(path)) for path in files), key=lambda record: record.seed)

    def all(self) -> list[CellRecord]:
        """Every record, by scale, group, arm and seed."""
        found = [CellRecord.model_validate(read_json(path)) for path in self.folder.glob("*/*/*/seed-*.json")]
        return sorted(found, key=lambda record: (record.scale, record.group, record.arm, record.seed))

    def _of(self, scale: str, group: str, arm: str) -> Path:
        return self.folder / scale / group / arm.strip("()")


@dataclass(frozen=True)
class Measured:
    """One column of one row over its seeds, in the column's unit.

    Attributes:
        by_seed: what there is, counted or not.
        why_not: why it does not count; empty where it does.
    """

    by_seed: dict[int, float]
    why_not: str

    @property
    def mean(self) -> float:
        """Over the seeds; NaN without any."""
        return statistics.fmean(self.by_seed.values()) if self.by_seed else math.nan

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of the mean (Student's t over the seeds); infinite with fewer than two."""
        values = list(self.by_seed.values())
        return paired_difference(values, [0.0] * len(values)).half_width if values else math.inf


def measured(
    records: Sequence[CellRecord], column: Column, experiment: str, scale: Scale, least_epochs: int = LEAST_EPOCHS
) -> Measured:
    """What the records of a cell say of a column, and whether that counts.

    Args:
        experiment: fingerprint of the settings that the cell has now; records of other settings are left out.
    """
    mine = [record for record in records if record.experiment == experiment]
    known = {record.seed: column.factor * record.values[column.name] for record in mine if column.name in record.values}
    if not records:
        return Measured({}, "nobody has run it yet")
    if not mine:
        return Measured({}, "it was run with other settings than the sheet has now")
    if not known:
        return Measured({}, f"its evaluation has no {column.name}")
    if mine[0].arm == TEACHER:
        return Measured(known, "one teacher serves all seeds, so it has no interval")
    epochs = min(record.epochs for record in mine)
    if scale != "full" and mine[0].arm != SPACES and epochs < least_epochs:
        return Measured(known, f"{epochs} epochs, at least {least_epochs} count")
    if len(known) < LEAST_SEEDS:
        return Measured(known, f"{len(known)} of at least {LEAST_SEEDS} seeds")
    return Measured(known, "")
