"""Reporting what happens: a tracker for every process, a spool on disk, one shipper per command, MLflow at the end.

Holds the settings and the one function a command needs, `tracking(...)`. Importing it loads no mlflow.
Knows nothing of what is tracked.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.secrecy import redacted
from orchestrator.tracking.events import NOTE_TAG, RunStatus
from orchestrator.tracking.machine import MachineMetrics
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.mlflow_store import artifact_root, prepare
from orchestrator.tracking.presence import Presence, root_identity
from orchestrator.tracking.reachable import reach
from orchestrator.tracking.shipper import MAX_UNHEARD_FAILURES, Shipper
from orchestrator.tracking.spool import SpoolTracker
from orchestrator.tracking.tracker import MemoryTracker, NullTracker, TrackedDataset, Tracker

__all__ = [
    "BEST_ALIAS",
    "NOTE_TAG",
    "MemoryTracker",
    "MlflowSink",
    "NullTracker",
    "RunStatus",
    "Shipper",
    "SpoolTracker",
    "TrackedDataset",
    "Tracker",
    "TrackingSettings",
    "artifact_root",
    "prepare",
    "reach",
    "resolve_uri",
    "tracking",
    "ui_command",
]

BEST_ALIAS = "best"  # of the registered model's newest best student
DIED = "its command ended without a word: killed, or the machine was lost"
LEFT = "the command ended before it did"


class TrackingSettings(Frozen):
    """Where runs are reported: `mlflow` (a SQLite file under the storage root unless `uri` names a store) or `none`.

    MLFLOW_TRACKING_URI in the environment wins over `uri`. `experiment_name` None means the experiment's own name.
    `system_metrics` samples CPU, memory, disk, network and GPUs of the command's machine into the command's run.
    `register_best` registers each run's best student on the selection split, under the experiment's name with the alias
    `best`.
    """

    kind: Literal["mlflow", "none"] = "mlflow"
    uri: str | None = None
    experiment_name: str | None = None
    system_metrics: bool = False
    register_best: bool = True


def resolve_uri(settings: TrackingSettings, storage_root: Path) -> str:
    """The MLflow store to use, SQLite always by absolute path (a worker's folder is not ours).

    Order: MLFLOW_TRACKING_URI, `settings.uri`, `STORAGE_ROOT/mlflow.db`. Raises ConfigError for a folder store, which
    MLflow no longer supports.
    """
    root = Path(storage_root).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or settings.uri or f"sqlite:///{root / 'mlflow.db'}"
    if uri.startswith("file:") or ("://" not in uri and uri != "databricks"):
        raise ConfigError(
            f"tracking.uri: {uri!r} names a folder, and MLflow no longer keeps runs in folders",
            expected="sqlite:////absolute/path.db, or http(s)://server:port",
            remedy="leave tracking.uri and MLFLOW_TRACKING_URI empty to use a SQLite file under the storage root",
        )
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(os.path.normpath(root / uri.removeprefix('sqlite:///')))}"
    return uri


def ui_command(uri: str, artifact_root: Path | None = None, port: int = 5000) -> str:
    """The exact shell command that opens the MLflow UI on this store, bound to this machine only."""
    if not uri.startswith("sqlite:"):
        return f"python -m webbrowser {shlex.quote(redacted(uri))}"
    script = Path(sys.executable).parent / "mlflow"
    parts = [_from_here(script)] if script.exists() else [sys.executable, "-m", "mlflow"]
    parts += ["ui", "--backend-store-uri", uri]
    if artifact_root is not None:
        parts += ["--default-artifact-root", str(artifact_root)]
    return shlex.join([*parts, "--host", "127.0.0.1", "--port", str(port)])


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@contextmanager
def tracking(
    settings: TrackingSettings,
    storage_root: Path,
    experiment_name: str,
    drain_s: float = 60.0,
    max_unheard_failures: int = MAX_UNHEARD_FAILURES,
) -> Iterator[Tracker]:
    """Open tracking for one command: yields the (picklable) tracker to hand out, ships meanwhile, drains at exit.

    The spool is `STORAGE_ROOT/spool`; what an earlier command could not send is sent too. The store may be unreachable.
    Runs below the experiment's own that an earlier command left RUNNING (`kill -9`, a lost machine) are ended as KILLED
    first, and those that this one leaves at its end; neither while another command of the experiment lives.
    """
    if settings.kind == "none":
        yield NullTracker()
        return
    uri = resolve_uri(settings, storage_root)
    spool_dir = Path(storage_root).resolve() / "spool"
    sink = MlflowSink(uri, settings.experiment_name or experiment_name, root_identity(spool_dir))
    tracker = SpoolTracker(spool_dir)
    shipper = Shipper(
        spool_dir, sink, destination=redacted(uri), drain_s=drain_s, max_unheard_failures=max_unheard_failures
    )
    with shipper, Presence(spool_dir, experiment_name) as presence:
        if presence.is_alone():
            tracker.end_stale(experiment_name, DIED)
        machine = MachineMetrics(tracker, experiment_name) if settings.system_metrics else nullcontext()
        try:
            with machine:
                yield tracker
        finally:
            if presence.is_alone():
                tracker.end_stale(experiment_name, LEFT)
