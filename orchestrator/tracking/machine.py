"""How busy the machine of the command is, sampled beside the work and told as the metrics of one run.

Uses MLflow's own monitors and names (`system/cpu_utilization_percentage`, ...), so that the UI shows them on its page
of system metrics. They are the machine's: trials that share it cannot be told apart. Imports mlflow inside functions.
"""

import contextlib
import logging
import threading
import time
from types import TracebackType
from typing import Any, Self

from orchestrator.tracking.tracker import Tracker

PERIOD_S = 10.0
_log = logging.getLogger(__name__)


class MachineMetrics:
    """A context manager that samples every `period_s` seconds; the step is the time in whole seconds, so that a command
    that goes on continues the curves."""

    def __init__(self, tracker: Tracker, run_key: str, period_s: float = PERIOD_S) -> None:
        self.tracker, self.run_key, self.period_s = tracker, run_key, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="machine-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            monitors = _monitors()
            while not self._stop.wait(self.period_s):
                self.tracker.log_metrics(self.run_key, sample(monitors), int(time.time()))
        except Exception as error:  # nothing that happens to a gauge may end the work
            _log.warning("tracking: no system metrics (%s: %s)", type(error).__name__, error)


def sample(monitors: list[Any]) -> dict[str, float]:
    """One reading of every monitor."""
    found: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        found |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return found


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(Exception):  # no GPU, or no nvidia-ml-py
        monitors.append(GPUMonitor())
    return monitors
