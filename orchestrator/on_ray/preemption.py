"""Ray's word that a node is about to be taken away (a spot instance reclaimed, a node drained).

Asks Ray Train. Knows nothing of checkpoints.
"""

import time

import ray.train
import torch

from orchestrator import distributed
from orchestrator.training.notice import Wish

ASK_EVERY_S = 2.0  # asking is a round trip to an actor in which all workers meet


class PreemptionNotice:
    """Asked after each step (see `Notice`); asks Ray every two seconds by the first worker's clock.

    While a node is to go, a checkpoint is wished each time, so that no more than seconds are lost when it does; Ray
    Train then restarts the workers elsewhere, without counting that as a failure.
    """

    def __init__(self) -> None:
        self._asked_at = time.monotonic()

    def __call__(self) -> Wish:
        """See the class."""
        now = time.monotonic()
        leads = distributed.rank() == 0
        is_due = leads and now - self._asked_at >= ASK_EVERY_S
        if not float(distributed.sum_over_workers(torch.tensor(float(is_due)))):
            return Wish.GO_ON
        self._asked_at = now
        return Wish.GO_ON if ray.train.get_preemption_info() is None else Wish.SAVE
