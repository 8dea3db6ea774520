"""What a trial has told, epoch by epoch, on disk as it is told: a scheduler can hear it again after any crash.

Reads and writes `told.jsonl`, one line for each epoch, and `lineage.json`, the states of other trials that a trial of a
population has gone on from; copies states to `donors/`. Imports no torch: proxies of trials read it too. Knows nothing
of Ray.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.artifacts.storage import read_json, write_json

TOLD, LINEAGE, TRIALS, DONORS = "told.jsonl", "lineage.json", "trials", "donors"
EPOCH, SECONDS = "epoch", "seconds"
Row = dict[str, float]


@dataclass(frozen=True)
class TrialTurn:
    """A trial as a worker is asked to train it; plain data.

    Attributes:
        generation: how often it has gone on from another trial's state; each time it has a folder of its own.
        start: the checkpoint it began this generation with.
        epoch: the last one before this generation.
    """

    number: int
    values: Mapping[str, Any] = field(hash=False)
    generation: int = 0
    start: str | None = None
    epoch: int = 0

    @property
    def key(self) -> str:
        """Names it among the trials of its sweep."""
        return f"{self.number:04d}"

    def folder(self, sweep: Path) -> Path:
        """Where it trains."""
        return generation_folder(sweep, self.number, self.generation)


def trial_folder(sweep: Path, number: int) -> Path:
    """The folder of a trial."""
    return sweep / TRIALS / f"{number:04d}"


def generation_folder(sweep: Path, number: int, generation: int) -> Path:
    """The folder of a trial's generation; the first one's is the trial's."""
    folder = trial_folder(sweep, number)
    return folder / f"generation_{generation:02d}" if generation else folder


def kept_state(sweep: Path, turn: TrialTurn, epoch: int) -> Path:
    """Where the state of a trial after an epoch is kept for others, until the sweep ends."""
    return sweep / DONORS / turn.key / f"generation_{turn.generation:02d}_epoch_{epoch:04d}.pt"


def keep_state(sweep: Path, turn: TrialTurn, epoch: int, state: Path) -> None:
    """Copy a checkpoint to where others may go on from it, its header first: where the state is there, all is."""
    kept = kept_state(sweep, turn, epoch)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for source, copy in ((state.with_suffix(".json"), kept.with_suffix(".json")), (state, kept)):
        unfinished = copy.with_name(f".{copy.name}")
        shutil.copyfile(source, unfinished)
        unfinished.replace(copy)


def read_lineage(sweep: Path, number: int) -> list[TrialTurn]:
    """The generations of a trial after its first one, in order."""
    path = trial_folder(sweep, number) / LINEAGE
    return [TrialTurn(**turn) for turn in read_json(path)] if path.is_file() else []


def read_turn(sweep: Path, number: int, values: Mapping[str, Any], generation: int | None = None) -> TrialTurn:
    """A trial as it stood in a generation, the newest unless told; in the first one it has the values it was given."""
    turns = [TrialTurn(number, values), *read_lineage(sweep, number)]
    return turns[-1 if generation is None else generation]


def begin_generation(sweep: Path, number: int, values: Mapping[str, Any], start: str, epoch: int) -> TrialTurn:
    """Keep what the next generation of a trial is, before it starts; the same one where it has begun from there."""
    lineage = read_lineage(sweep, number)
    found = next((turn for turn in lineage if turn.start == start), None)
    if found is None:
        found = TrialTurn(number, values, len(lineage) + 1, start, epoch)
        write_json(trial_folder(sweep, number) / LINEAGE, [asdict(turn) for turn in (*lineage, found)])
    return found


class Journal:
    """The rows of one generation, in order of epochs; a line that a crash cut off was never told.

    Args:
        folder: of the generation.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TOLD
        self.rows: list[Row] = []
        whole = 0
        if self.path.is_file():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            self.rows = [json.loads(line) for line in data[:whole].splitlines()]
            if whole < len(data):
                with self.path.open("r+b") as file:
                    file.truncate(whole)

    @property
    def epoch(self) -> int:
        """The last one that was told, 0 before the first."""
        return int(self.rows[-1][EPOCH]) if self.rows else 0

    @property
    def seconds(self) -> float:
        """How long the training has run, without the times between its processes."""
        return self.rows[-1][SECONDS] if self.rows else 0.0

    def add(self, row: Row) -> bool:
        """Keep a row; False when its epoch was told before (it was trained again after a crash, to the same bits)."""
        if row[EPOCH] <= self.epoch:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
        self.rows.append(row)
        return True


def read_history(sweep: Path, turn: TrialTurn) -> list[Row]:
    """What a trial told over all its generations: of each up to where the next began."""
    history: list[Row] = []
    for generation in range(turn.generation + 1):
        rows = Journal(generation_folder(sweep, turn.number, generation)).rows
        if rows:
            history = [row for row in history if row[EPOCH] < rows[0][EPOCH]]
        history += rows
    return history
