"""Word from outside that a training's process will soon be taken away, and what the training then does.

Holds the two notices that need no driver: none, and SIGTERM. Reads and writes nothing. Knows nothing of checkpoints.
"""

import signal
import threading
from collections.abc import Callable
from enum import Enum
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from orchestrator import distributed


class Wish(Enum):
    """What a training is to do after a step."""

    GO_ON = "go on"
    SAVE = "write a checkpoint and go on"
    STOP = "write a checkpoint and stop"


Notice = Callable[[], Wish]  # asked by all workers after each step; it tells all of them the same


def settled() -> None:
    """What is written in a run's folder is where others see it."""


def undisturbed() -> Wish:
    """No notice ever comes."""
    return Wish.GO_ON


class TerminationNotice:
    """SIGTERM, which schedulers and clouds send some seconds before they kill: a context that notes it.

    One worker's signal is every worker's. Outside the main thread, where Python handles no signals, none is noted.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True

    def __call__(self) -> Wish:
        """See `Notice`."""
        came = bool(distributed.sum_over_workers(torch.tensor(float(self._came))))
        return Wish.STOP if came else Wish.GO_ON
