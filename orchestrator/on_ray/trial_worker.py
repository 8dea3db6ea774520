"""A trial worker: a long-lived Ray actor that trains a pack of trials, each of which asks for its epochs one by one.

One thread trains; each caller waits in a thread of its own. With a scheduler no member begins an epoch before its trial
asks for it, so that a stopped trial trains no step too many. Knows nothing of Ray Tune.
"""

import math
import os
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from orchestrator.errors import ArtifactError, OrchestratorError, Stopped
from orchestrator.executors.protocol import SweepJob
from orchestrator.executors.trial_run import start_trial_run
from orchestrator.on_ray.folders import Folders
from orchestrator.on_ray.trial_desk import FAILS_AFTER
from orchestrator.on_ray.trial_journal import EPOCH, SECONDS, Journal, TrialTurn, keep_state, kept_state
from orchestrator.on_ray.trial_seat import Seat
from orchestrator.training.notice import Wish
from orchestrator.training.pack import Pack, Told

PATIENCE_S = 30.0  # a member that nobody asks for leaves: the process that asked for it has died
CULPRIT = "the process that trained it died three times, the last time while it trained this trial alone"


class TrialWorker:
    """See the module.

    Args:
        place: of this worker among those of the sweep.
        is_judged: a scheduler decides after each epoch whether a trial goes on.
        desk: name of the `TrialDesk`'s actor; its handle would be an object, which a restart could find lost.
        folders: how this process comes to the sweep's.
    """

    def __init__(
        self, place: int, job: SweepJob, most_members: int, is_judged: bool, desk: str, folders: Folders
    ) -> None:
        self._folders = folders
        self._place, self._job, self._most, self._is_judged = place, job, most_members, is_judged
        self._desk = ray.get_actor(desk)
        self._seats: dict[str, Seat] = {}
        self._changed = threading.Condition()
        self._closes = False
        self._trained: tuple[str, ...] = ()
        self._pack = self._new_pack()
        ray.get(self._desk.opened.remote(place))
        self._thread = threading.Thread(target=self._work, name="pack", daemon=True)
        self._thread.start()

    def _new_pack(self) -> Pack:
        return Pack(lambda: Wish.STOP if self._closes else Wish.GO_ON, self._folders.settle)

    def pid(self) -> int:
        """Of this process."""
        return os.getpid()

    def advance(self, turn: TrialTurn, after_epoch: int) -> dict[str, Any]:
        """The first row of a trial after an epoch, trained where it has not been yet; takes the trial in if need be.

        Returns:
            `row` (None where there is none any more), `has_ended` and `error`; all of them empty when the trial was let
            go meanwhile, and is to be asked for again.
        """
        with self._changed:
            seat = self._seat(turn)
            seat.is_asked, seat.asked_at = seat.answer(after_epoch) is None, time.monotonic()
            seat.asked_after = after_epoch
            self._changed.notify_all()
            self._changed.wait_for(lambda: seat.is_gone or seat.answer(after_epoch) is not None)
            answer = seat.answer(after_epoch) or {"row": None, "has_ended": False, "error": ""}
            if answer["has_ended"]:
                self._give_up(turn)
            return answer

    def keep(self, turn: TrialTurn, epoch: int) -> None:
        """Copy a trial's state after an epoch to where others may go on from it, and let the trial go.

        Its process may have died since it told of the epoch: then it is trained up to there once more.

        Raises:
            ArtifactError: it cannot be trained again.
        """
        with self._changed:
            seat = self._seat(turn)
            seat.keep_at, seat.is_asked, seat.asked_at = epoch, True, time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: seat.is_gone or seat.has_ended)
            if seat.has_ended:
                self._give_up(turn)
        if not kept_state(self._job.folder, turn, epoch).is_file():
            raise ArtifactError(
                f"the state of trial {turn.number} after epoch {epoch} could not be kept: {seat.error or 'it is lost'}",
                remedy="the same command resumes the sweep",
            )

    def let_go(self, turn: TrialTurn) -> None:
        """The trial is trained no further for now; returns when its state is in a checkpoint."""
        with self._changed:
            seat = self._seats.get(turn.key)
            if seat is not None and seat.is_member:
                seat.leaves = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: seat.is_gone)
            elif seat is not None:
                self._give_up(turn)
                seat.is_gone = True
                self._changed.notify_all()

    def _seat(self, turn: TrialTurn) -> Seat:
        """The seat of a trial, a new one if it has none."""
        if turn.key not in self._seats:
            if (copied := self._folders.here()) is not None:
                if (spool := self._job.template.spool) is not None:  # before folders: see `Folders.work_in`
                    copied.watch(Path(spool), new_only=True)
                for folder in self._written(turn):
                    copied.bring(folder)
                    copied.watch(folder)
                self._forgive()
            deaths, journal = ray.get(self._desk.deaths.remote(turn.key)), Journal(turn.folder(self._job.folder))
            # An earlier process told the last of these rows, but perhaps not that it was the end.
            epochs = self._job.make_job(turn.number, turn.values).training.epochs if journal.rows else math.inf
            self._seats[turn.key] = Seat(turn, journal, deaths, epochs, journal.seconds)
        return self._seats[turn.key]

    def _written(self, turn: TrialTurn) -> tuple[Path, ...]:
        """The folders that training a trial writes."""
        return turn.folder(self._job.folder), kept_state(self._job.folder, turn, 0).parent

    def _forgive(self) -> None:
        """Who asks could not be heard while files were on their way."""
        for seat in self._seats.values():
            seat.asked_at = time.monotonic()

    def _give_up(self, turn: TrialTurn) -> None:
        """Take the trial's seat away, when what it wrote is where the sweep's folder is."""
        if (copied := self._folders.here()) is not None:
            copied.send()
            for folder in self._written(turn):
                copied.let_go(folder)
            self._forgive()
        self._seats.pop(turn.key, None)

    def close(self) -> None:
        """Let all trials go; returns when their states are in checkpoints."""
        with self._changed:
            self._closes = True
            self._changed.notify_all()
        self._thread.join()
        if (copied := self._folders.here()) is not None:
            copied.close()

    def _work(self) -> None:
        try:
            with suppress(Stopped):  # in the middle of an epoch: all states are in checkpoints
                while not self._closes:
                    self._turn()
            self._pack.close()
        except BaseException:  # of ours: the process ends, and what it trained goes on in the next one
            traceback.print_exc()
            os._exit(1)
        with self._changed:
            for seat in self._seats.values():
                seat.is_gone = True
            self._changed.notify_all()

    def _turn(self) -> None:
        """Wait for something to do, and do it: let go, take in, train for an epoch."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closes or self._leaving() or self._joining() or self._may_step(), PATIENCE_S / 2
            )
            leaving = [] if self._closes else self._leaving()
        for seat in leaving:
            self._leave(seat)
        with self._changed:
            joining = [] if self._closes else self._joining()
        for seat in joining:
            self._join(seat)
        with self._changed:
            steps = not self._closes and self._may_step()
        self._tell_whom_it_trains()
        if steps:
            self._step()
            self._tell_whom_it_trains()

    def _members(self) -> list[Seat]:
        return [seat for seat in self._seats.values() if seat.is_member]

    def _leaving(self) -> list[Seat]:
        """Members to be given up: their trials were let go, nobody asks for them, or another one must run alone."""
        late = time.monotonic() - PATIENCE_S
        makes_room = any(seat.is_alone and seat.waits for seat in self._seats.values())
        return [
            seat
            for seat in self._members()
            if seat.leaves
            or seat.is_to_be_kept
            or (self._is_judged and not seat.is_asked and seat.asked_at < late)
            or (makes_room and not seat.is_alone)
        ]

    def _joining(self) -> list[Seat]:
        members, waiting = self._members(), [seat for seat in self._seats.values() if seat.waits]
        if any(seat.is_alone for seat in members):
            return []
        if alone := [seat for seat in waiting if seat.is_alone]:
            return [] if members else alone[:1]
        return waiting[: max(0, self._most - len(members))]

    def _may_step(self) -> bool:
        members = self._members()
        is_free = not any(seat.is_to_be_kept for seat in members)
        return bool(members) and is_free and (not self._is_judged or all(seat.is_asked for seat in members))

    def _join(self, seat: Seat) -> None:
        turn, error = seat.turn, ""
        try:
            if seat.deaths >= FAILS_AFTER:
                raise ArtifactError(CULPRIT, remedy="look at the memory that it takes, and at Ray's log of the worker")
            training = self._job.make_job(turn.number, turn.values)
            start_trial_run(self._job, training, turn.number, turn.values)
            self._tell_whom_it_trains(turn.key)
            self._folders.bring_inputs(training)
            if turn.start is not None:
                self._folders.bring_file(Path(turn.start).with_suffix(".json"))
                self._folders.bring_file(Path(turn.start))
            self._pack.join(
                training.model_copy(update={"folder": str(turn.folder(self._job.folder))}),
                Path(turn.start) if turn.start is not None else None,
            )
        except Exception as failed:
            error = _said(failed)
        with self._changed:
            seat.joined_at, seat.error, seat.has_ended = time.monotonic(), error, bool(error)
            seat.is_member = not error
            seat.run_key = "" if error else training.run_key
            seat.epoch = 0 if error else self._pack.epoch(training.run_key)
            self._changed.notify_all()

    def _leave(self, seat: Seat) -> None:
        try:
            if seat.is_to_be_kept:
                keep_state(self._job.folder, seat.turn, seat.epoch, self._pack.keep(seat.run_key))
            self._pack.leave(seat.run_key)
        except Exception as failed:  # what was saved before is on disk; it goes on from there
            seat.error = _said(failed)
        with self._changed:
            seat.is_member = False
            if seat.leaves or seat.is_to_be_kept or not seat.is_asked:
                self._give_up(seat.turn)
                seat.is_gone = True
            else:  # it waits for its turn
                seat.seconds_before += time.monotonic() - seat.joined_at
            self._changed.notify_all()

    def _step(self) -> None:
        members = self._members()
        try:
            told = self._pack.step_epoch()
        except Exception as error:  # of no single member: each of them would have met it alone
            told = [Told(seat.run_key, None, error=_said(error)) for seat in members]
            with suppress(Exception):
                self._pack.close()
            self._pack = self._new_pack()
        with self._changed:
            for one in told:
                seat = next(seat for seat in members if seat.run_key == one.run_key)
                self._publish(one, seat)
                if (copied := self._folders.here()) is not None and seat.journal.rows:
                    copied.send_file(seat.journal.path)  # before anyone hears of it, and perhaps stops the trial
            self._changed.notify_all()

    def _publish(self, told: Told, seat: Seat) -> None:
        if told.progress is not None:
            seconds = seat.seconds_before + time.monotonic() - seat.joined_at
            row = {EPOCH: float(told.progress.epoch), SECONDS: seconds, **told.progress.metrics}
            seat.epoch = told.progress.epoch
            if seat.journal.add(row) and self._is_judged and row[EPOCH] > seat.asked_after:
                seat.is_asked, seat.asked_at = False, time.monotonic()
        if told.finished or told.error:
            seat.has_ended, seat.error, seat.is_member = True, told.error, False

    def _tell_whom_it_trains(self, *joins: str) -> None:
        """Before it is trained, because the next thing that happens may be the end of this process."""
        trials = (*(seat.turn.key for seat in self._members()), *joins)
        if trials != self._trained:
            self._trained = trials
            ray.get(self._desk.trains.remote(self._place, trials))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
