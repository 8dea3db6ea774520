"""A trial as Ray Tune sees it: a light actor, used for one trial after another, that asks a trial worker for epochs.

Imports no torch, so that a cluster's worth of them costs little. What it gives Tune as a checkpoint is a pointer; the
state itself lies in the trial's folder. Reads the sweep's folder and writes pointers. Knows nothing of trainings.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.tune

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.on_ray.trial_journal import (
    EPOCH,
    Journal,
    Row,
    TrialTurn,
    begin_generation,
    kept_state,
    read_lineage,
    read_turn,
)
from orchestrator.search.sweep_folder import read_ended
from orchestrator.search.trial import TrialResult

NUMBER, VALUES = "number", "values"  # what a trial's config holds when it is made
HAS_ENDED, ERROR, WORKER = "has_ended", "error", "worker"  # of a report, beside its epoch and objectives
POINTER, GENERATION, START = "pointer.json", "generation", "start"
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
        self._values, self._ended = dict(config[VALUES]), read_ended(self._sweep, number)
        turn = TrialTurn(number, self._values)
        self._stand(turn, 0 if self._hears else Journal(turn.folder(self._sweep)).epoch)

    def _stand(self, turn: TrialTurn, epoch: int) -> None:
        """Be a trial in one of its generations, after an epoch."""
        self._turn, self._epoch, self._journal = turn, epoch, Journal(turn.folder(self._sweep))

    def step(self) -> dict[str, Any]:
        """The next report of the trial: trained, or told again."""
        if self._ended is not None:
            return self._tell_again(self._ended)
        while True:
            told = self._advance()
            row, has_ended, error = told["row"], bool(told["has_ended"]), str(told["error"])
            if row is not None:
                self._epoch = int(row[EPOCH])
            if has_ended:
                self._free()
            if has_ended or (row is not None and all(name in row for name in self._objectives)):
                return self._report(row or {EPOCH: self._epoch}, has_ended=has_ended, error=error)

    def _tell_again(self, ended: TrialResult) -> dict[str, Any]:
        """The next report of a trial that has ended; only of one that ran to its end the last row was the end, too."""
        rows = [row for row in self._journal.rows if all(name in row for name in self._objectives)]
        row = next((row for row in rows if row[EPOCH] > self._epoch), None)
        if row is None:
            return self._report({EPOCH: self._epoch}, has_ended=True, error=ended.error)
        self._epoch = int(row[EPOCH])
        is_last = row is rows[-1] and self._turn.generation == len(read_lineage(self._sweep, self._turn.number))
        return self._report(row, has_ended=is_last and ended.status == "finished")

    def _report(self, row: Row, *, has_ended: bool, error: str = "") -> dict[str, Any]:
        told = {name: row[name] for name in self._objectives if name in row}
        ends = {"done": True, HAS_ENDED: True, ERROR: error} if has_ended else {}
        return {EPOCH: int(row[EPOCH]), **told, **ends, WORKER: self._place}

    def _advance(self) -> dict[str, Any]:
        """Ask for the next epoch."""
        if self._nested is not None:
            nested: dict[str, Any] = self._nested.advance(self._turn, self._epoch)
            return nested
        told: dict[str, Any] = self._ask("advance", self._turn, self._epoch)
        return told

    def _ask(self, what: str, *given: Any) -> Any:
        """The worker's answer; where its process has died, it is asked again until it is there again."""
        while True:
            if self._place is None:
                self._place = ray.get(self._desk.place.remote(self._turn.key))
            try:
                return ray.get(getattr(self._workers[self._place], what).remote(*given))
            except ray.exceptions.RayActorError:
                time.sleep(RETRY_S)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Point to the state, which the worker keeps; the trial is out of its pack until it goes on."""
        start = str(self._keep()) if self._keeps else None
        self._let_go()
        pointer = {NUMBER: self._turn.number, GENERATION: self._turn.generation, EPOCH: self._epoch, START: start}
        write_json(Path(checkpoint_dir) / POINTER, pointer)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on where the trial was paused, or, as a new generation, from another one's state."""
        pointer, number = read_json(Path(checkpoint) / POINTER), self._turn.number
        if pointer[NUMBER] == number:
            turn = read_turn(self._sweep, number, self._values, pointer[GENERATION])
        else:
            turn = begin_generation(self._sweep, number, self._values, pointer[START], pointer[EPOCH])
        self._stand(turn, pointer[EPOCH])

    def cleanup(self) -> None:
        """No further trial comes."""
        self._let_go()

    def _keep(self) -> Path:
        """The state after the last epoch that was told, where others may go on from it."""
        kept = kept_state(self._sweep, self._turn, self._epoch)
        if not kept.is_file():
            self._ask("keep", self._turn, self._epoch)
        return kept

    def _let_go(self) -> None:
        """Out of the pack."""
        if self._nested is not None:
            self._nested.let_go(self._turn)
        if self._place is not None:
            with suppress(ray.exceptions.RayActorError):  # its process has died, and the trial with it
                ray.get(self._workers[self._place].let_go.remote(self._turn))
            self._free()

    def _free(self) -> None:
        if self._place is not None:
            ray.get(self._desk.free.remote(self._turn.key))
            self._place = None
