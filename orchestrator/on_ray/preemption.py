"""Word for a Ray Train run: from Ray, that a node is about to be taken away; from a sweep, that its trial is stopped.

Asks Ray Train, and looks for a file. Knows nothing of checkpoints.
"""

import time
from pathlib import Path

import ray.train
import torch

from orchestrator import distributed
from orchestrator.training.notice import Wish

STOP = "STOP"  # a file in the run's folder: all its workers are to keep their state and end
ASK_EVERY_S = 2.0  # asking is a round trip to an actor in which all workers meet


class PreemptionNotice:
    """Asked after each step (see `Notice`); asks Ray every two seconds by the first worker's clock.

    While a node is to go, a checkpoint is wished each time, so that no more than seconds are lost when it does; Ray
    Train then restarts the workers elsewhere, without counting that as a failure.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._stop, self._asked_at = folder / STOP, time.monotonic()

    def __call__(self) -> Wish:
        """See the class."""
        now = time.monotonic()
        leads = distributed.rank() == 0
        is_due = leads and now - self._asked_at >= ASK_EVERY_S
        if not float(distributed.sum_over_workers(torch.tensor(float(is_due)))):
            return Wish.GO_ON
        self._asked_at = now
        stops = distributed.rank() == 0 and self._stop.exists()
        if float(distributed.sum_over_workers(torch.tensor(float(stops)))):
            return Wish.STOP
        return Wish.GO_ON if ray.train.get_preemption_info() is None else Wish.SAVE
