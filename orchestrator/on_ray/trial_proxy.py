"""A trial as Ray Tune sees it: a light actor, used for one trial after another, that asks a trial worker for epochs.

Imports no torch, so that a cluster's worth of them costs little. What it gives Tune as a checkpoint is a pointer; the
state itself lies in the trial's folder. Reads the sweep's folder and writes pointers. Knows nothing of trainings.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.tune

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.on_ray.trial_journal import EPOCH, Journal, Row, TrialTurn, begin_generation, read_turn

NUMBER, VALUES, REPLAYS = "number", "values", "replays"  # what a trial's config holds when it is made
HAS_ENDED, ERROR, WORKER = "has_ended", "error", "worker"  # of a report, beside its epoch and objectives
POINTER = "pointer.json"
RETRY_S = 0.5


def name_of(number: int) -> str:
    """Tune's name of a trial."""
    return f"trial_{number:04d}"


def number_of(name: str) -> int:
    """The number of the trial that Tune names so."""
    return int(name.rpartition("_")[2])


class TrialProxy(ray.tune.Trainable):
    """See the module. Tune calls `step` when the trial is to go on, and `save_checkpoint` before it pauses it."""

    def setup(
        self,
        config: dict[str, Any],
        folder: str = "",
        objectives: Sequence[str] = (),
        hears: bool = False,
        keeps: bool = False,
        desk: Any = None,
        workers: Sequence[Any] = (),
        nested: Any = None,
    ) -> None:
        """Called once.

        Args:
            folder: of the sweep.
            objectives: an epoch that tells all of them is reported.
            hears: after a restart the scheduler hears again what a trial had told.
            keeps: others may go on from this trial's state.
            desk, workers: of the sweep.
            nested: what makes the `NestedTrial` of a proxy whose trials are Ray Train runs of their own.
        """
        self._sweep, self._objectives, self._hears, self._keeps = Path(folder), tuple(objectives), hears, keeps
        self._desk, self._workers = desk, workers
        self._nested = None if nested is None else nested()
        self._place: int | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial."""
        self._let_go()
        self._take(new_config)
        return True

    def _take(self, config: Mapping[str, Any]) -> None:
        number = number_of(self.trial_name)  # in a population its config becomes a copy of another one's
        self._turn = read_turn(self._sweep, number, dict(config[VALUES]))
        self._values = dict(config[VALUES])
        self._epoch = 0
        if not self._hears:
            self._epoch = max(self._turn.epoch, Journal(self._turn.folder(self._sweep)).epoch)
        self._replayed: list[Row] | None = None
        if config.get(REPLAYS):
            told = read_json(self._sweep / "ended" / f"{number:04d}.json")["history"]
            self._replayed = [row for row in told if all(name in row for name in self._objectives)]

    def step(self) -> dict[str, Any]:
        """The next report of the trial: trained, or told again."""
        if self._replayed is not None:
            row = next(row for row in self._replayed if row[EPOCH] > self._epoch)
            self._epoch = int(row[EPOCH])
            return self._report(row, has_ended=row is self._replayed[-1])
        while True:
            told = self._advance()
            row, has_ended, error = told["row"], bool(told["has_ended"]), str(told["error"])
            if row is not None:
                self._epoch = int(row[EPOCH])
            if has_ended:
                self._free()
            if has_ended or (row is not None and all(name in row for name in self._objectives)):
                return self._report(row or {EPOCH: self._epoch}, has_ended=has_ended, error=error)

    def _report(self, row: Row, *, has_ended: bool, error: str = "") -> dict[str, Any]:
        told = {name: row[name] for name in self._objectives if name in row}
        ends = {"done": True, HAS_ENDED: True, ERROR: error} if has_ended else {}
        return {EPOCH: int(row[EPOCH]), **told, **ends, WORKER: self._place}

    def _advance(self) -> dict[str, Any]:
        """Ask the worker; where its process has died, ask again until it is there again."""
        if self._nested is not None:
            nested: dict[str, Any] = self._nested.advance(self._turn, self._epoch)
            return nested
        while True:
            if self._place is None:
                self._place = ray.get(self._desk.place.remote(self._turn.key))
            try:
                told: dict[str, Any] = ray.get(self._workers[self._place].advance.remote(self._turn, self._epoch))
            except ray.exceptions.RayActorError:
                time.sleep(RETRY_S)
            else:
                return told

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Point to the state, which the worker keeps; the trial is out of its pack until it goes on."""
        start = self._let_go(keep=self._keeps)
        write_json(Path(checkpoint_dir) / POINTER, {NUMBER: self._turn.number, EPOCH: self._epoch, "start": start})

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on where the trial was paused, or, as a new generation, from another one's state."""
        pointer = read_json(Path(checkpoint) / POINTER)
        self._epoch = int(pointer[EPOCH])
        if pointer["start"] is not None and pointer[NUMBER] != self._turn.number:
            generation = self._turn.generation + 1
            self._turn = TrialTurn(self._turn.number, self._values, generation, pointer["start"], self._epoch)
            begin_generation(self._sweep, self._turn)

    def cleanup(self) -> None:
        """No further trial comes."""
        self._let_go()

    def _let_go(self, keep: bool = False) -> str | None:
        """Out of the pack; where others may need the state, the file that holds a copy."""
        place, kept = self._place, None
        if self._nested is not None:
            self._nested.let_go(self._turn)
        if place is not None:
            try:
                kept = ray.get(self._workers[place].let_go.remote(self._turn, keep))
            except ray.exceptions.RayActorError:  # its process has died, and the trial with it
                kept = None
            self._free()
        return kept

    def _free(self) -> None:
        if self._place is not None:
            ray.get(self._desk.free.remote(self._turn.key))
            self._place = None
