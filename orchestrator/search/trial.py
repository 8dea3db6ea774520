"""What is known of a trial: the values that it was given and what came of it.

Holds plain data. Reads and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """One trial, as far as it has come.

    Attributes:
        number: 0-based, stable over restarts.
        values: dotted path -> value; paths whose condition does not hold are absent.
        metrics: the last of each that it reported.
        epochs: how many it was trained for.
        status: running, finished (all epochs), stopped (by the scheduler) or failed.
        error: why it failed, "" otherwise.
        history: what it reported, in order, each with its "epoch".
        seconds: how long it ran, over all restarts.
        cpu_seconds, gpu_seconds: what of the cluster was held for it, processors or devices times seconds.
    """

    number: int
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    epochs: int
    status: Status
    error: str = ""
    history: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether it will not go on."""
        return self.status != "running"
