"""The one interface through which everything reports, and two trackers that need no disk.

Holds the protocol, the null tracker and the one that remembers in memory. Reads and writes nothing. Knows nothing of
MLflow or of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from orchestrator.tracking.events import RunStatus, Scalar, flat_scalars


@dataclass(frozen=True)
class TrackedDataset:
    """The data that a run was made from.

    Attributes:
        digest: fingerprint of its content; two runs compare only where it is equal.
        source: where it lies, in words or as a path.
        rows: counts, for example by split.
        context: what it is used for.
    """

    name: str
    digest: str
    source: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    context: str = "training"


@runtime_checkable
class Tracker(Protocol):
    """Where runs report; a run is named by a stable `run_key` such as "demo/sweep/text/trial/0003".

    The same key always means the same run, also in another process or after a restart. No method raises because of
    where the events go: reporting never stops training.
    """

    def start_run(
        self,
        run_key: str,
        *,
        name: str,
        parent_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Begin or resume a run. `params` are scalars (nested mappings become dotted names); the tag `kind` says
        sweep, trial, arm or run and is derived from the key when absent."""

    def log_metrics(self, run_key: str, metrics: Mapping[str, float], step: int) -> None:
        """Record values at one step (an epoch, counted from 0 or 1 as the caller likes)."""

    def set_tags(self, run_key: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run that was begun; a tag that it has takes the new value."""

    def log_dataset(self, run_key: str, dataset: TrackedDataset) -> None:
        """Name the data that the run reads."""

    def log_artifact(self, run_key: str, path: Path, folder: str = "") -> None:
        """Attach a file or a folder, placed under `folder` of the run's artifacts."""

    def log_model(self, run_key: str, folder: Path, *, name: str, alias: str, export: str) -> None:
        """Register an export (its folder) that came of the run as a new version of the model `name`, which gets the
        alias; one that is registered already (by `export`, its fingerprint) is left as it is."""

    def end_run(self, run_key: str, status: RunStatus, stop_reason: str = "") -> None:
        """Set the terminal status; a later `start_run` with the same key opens the run again."""


class NullTracker:
    """Ignores everything."""

    def start_run(
        self,
        run_key: str,
        *,
        name: str,
        parent_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Ignored."""

    def log_metrics(self, run_key: str, metrics: Mapping[str, float], step: int) -> None:
        """Ignored."""

    def set_tags(self, run_key: str, tags: Mapping[str, str]) -> None:
        """Ignored."""

    def log_dataset(self, run_key: str, dataset: TrackedDataset) -> None:
        """Ignored."""

    def log_artifact(self, run_key: str, path: Path, folder: str = "") -> None:
        """Ignored."""

    def log_model(self, run_key: str, folder: Path, *, name: str, alias: str, export: str) -> None:
        """Ignored."""

    def end_run(self, run_key: str, status: RunStatus, stop_reason: str = "") -> None:
        """Ignored."""


@dataclass
class RememberedRun:
    """What a `MemoryTracker` knows of one run; `metrics[name]` is a list of (step, value) in order of arrival."""

    name: str
    parent_key: str | None = None
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    datasets: list[TrackedDataset] = field(default_factory=list)
    artifacts: list[tuple[Path, str]] = field(default_factory=list)
    models: list[tuple[Path, str, str, str]] = field(default_factory=list)
    status: str = "RUNNING"
    stop_reason: str = ""


class MemoryTracker:
    """Remembers every run in `runs`; for tests, notebooks and the in-process executor."""

    def __init__(self) -> None:
        self.runs: dict[str, RememberedRun] = {}

    def _run(self, run_key: str) -> RememberedRun:
        return self.runs.setdefault(run_key, RememberedRun(name=run_key))

    def start_run(
        self,
        run_key: str,
        *,
        name: str,
        parent_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Begin a run, or open the one with this key again."""
        run = self._run(run_key)
        run.name, run.parent_key, run.status, run.stop_reason = name, parent_key, "RUNNING", ""
        run.params.update(flat_scalars(params or {}))
        run.tags.update(tags or {})

    def log_metrics(self, run_key: str, metrics: Mapping[str, float], step: int) -> None:
        """Append to the run's curves."""
        for name, value in metrics.items():
            self._run(run_key).metrics.setdefault(name, []).append((step, float(value)))

    def set_tags(self, run_key: str, tags: Mapping[str, str]) -> None:
        """Remember them."""
        self._run(run_key).tags.update(tags)

    def log_dataset(self, run_key: str, dataset: TrackedDataset) -> None:
        """Remember it, once."""
        if dataset not in self._run(run_key).datasets:
            self._run(run_key).datasets.append(dataset)

    def log_artifact(self, run_key: str, path: Path, folder: str = "") -> None:
        """Remember the path."""
        self._run(run_key).artifacts.append((Path(path), folder))

    def log_model(self, run_key: str, folder: Path, *, name: str, alias: str, export: str) -> None:
        """Remember it, once."""
        model = (Path(folder), name, alias, export)
        if model not in self._run(run_key).models:
            self._run(run_key).models.append(model)

    def end_run(self, run_key: str, status: RunStatus, stop_reason: str = "") -> None:
        """Remember the terminal status."""
        run = self._run(run_key)
        run.status, run.stop_reason = status, stop_reason
