"""A trial at a trial worker: who asks for it, how far it is, and what it is answered. Knows nothing of Ray Tune."""

import time
from dataclasses import dataclass, field
from typing import Any

from orchestrator.on_ray.trial_desk import ALONE_AFTER
from orchestrator.on_ray.trial_journal import EPOCH, Journal, Row, TrialTurn


@dataclass
class Seat:
    """A trial at a worker."""

    turn: TrialTurn
    journal: Journal
    deaths: int
    epochs: float  # of the whole training, where an earlier process has told some
    seconds_before: float
    is_asked: bool = True  # for an epoch that it has not told yet
    asked_after: int = 0  # for the first one after this
    asked_at: float = field(default_factory=time.monotonic)
    joined_at: float = 0.0
    run_key: str = ""
    is_member: bool = False
    epoch: int = 0  # the last one that it was trained for
    leaves: bool = False
    keep_at: int | None = None  # after this epoch its state is copied, and it leaves
    is_gone: bool = False
    has_ended: bool = False
    error: str = ""

    @property
    def is_alone(self) -> bool:
        """Whether no other trial may be trained beside it."""
        return self.deaths >= ALONE_AFTER

    @property
    def is_to_be_kept(self) -> bool:
        """Whether its state is one that others go on from."""
        return self.keep_at is not None and self.epoch >= self.keep_at

    @property
    def waits(self) -> bool:
        """Whether it is asked for and not trained yet."""
        return self.is_asked and not (self.is_member or self.has_ended or self.leaves)

    def next_row(self, after_epoch: int) -> Row | None:
        """The first that it has told after an epoch."""
        return next((row for row in self.journal.rows if row[EPOCH] > after_epoch), None)

    def answer(self, after_epoch: int) -> dict[str, Any] | None:
        """What its trial is told, or None while there is nothing yet."""
        row = self.next_row(after_epoch)
        if row is not None and (self.has_ended or row[EPOCH] < self.epochs):
            is_last = self.has_ended and not self.error and row is self.journal.rows[-1]
            return {"row": row, "has_ended": is_last, "error": ""}
        return {"row": None, "has_ended": True, "error": self.error} if self.has_ended else None
