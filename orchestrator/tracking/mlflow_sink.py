"""Sends events to MLflow: one MLflow run per run key, for ever.

Reads and writes an MLflow store (SQLite file or server). Everything here may be repeated without harm: a run is found
again by its key, a metric that the run already has (same name, step and value) is not written twice, parameters are
compared before they are written. Knows nothing of spools. Imports mlflow inside functions only.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.events import Event
from orchestrator.tracking.mlflow_models import add_version, expect_no_example, known_version
from orchestrator.tracking.mlflow_runs import Runs, TrackedRun, accepted_name, in_parts
from orchestrator.tracking.mlflow_store import artifact_root, open_client, prepare

if TYPE_CHECKING:
    from mlflow.entities import Metric

MAX_METRICS = 1000  # per log_batch, the store's own limit (mlflow/utils/validation.py)
ATTEMPTS = 5  # at an artifact, and at what a database refuses
_REFUSED = {"INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS"}
# MLflow's word for any fault of its database but a lost connection: a full pool and a lost race pass, a bad value not.
_DATABASE_FAULT = "BAD_REQUEST"
_log = logging.getLogger(__name__)


class MlflowSink:
    """Writes events to the experiment `experiment_name` of the store at `uri`, as runs of the storage root `root`.

    Nothing is contacted before the first `send`. `send` raises whatever the connection raises (the caller keeps the
    events and tries again); what the store refuses for good is dropped with one line of warning.
    """

    def __init__(self, uri: str, experiment_name: str, root: str = "") -> None:
        expect_no_example()
        self.uri, self.experiment_name, self.root = uri, experiment_name, root
        self._opened: Runs | None = None
        self._pending: dict[str, list[Metric]] = {}
        self._failures: Counter[str] = Counter()  # by artifact, by run key

    def send(self, events: Sequence[Event]) -> None:
        """Deliver events in order; when this returns, the store has accepted them."""
        self._connect()
        self._pending.clear()
        try:
            for event in events:
                self._deliver(event)
            self._flush(list(self._pending))
            self._failures.clear()
        except Exception:
            self.runs.forget()
            raise
        finally:
            self._pending.clear()

    def _connect(self) -> None:
        if self._opened is not None:
            return
        prepare(self.uri)
        client = open_client(self.uri)
        self._opened = Runs(client, experiment_id(client, self.uri, self.experiment_name), self.root)

    @property
    def runs(self) -> Runs:
        """The experiment's runs."""
        assert self._opened is not None, "send() connects first"
        return self._opened

    def _deliver(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        try:
            match event.kind:
                case "start":
                    self.runs.begin(event)
                case "metrics":
                    self._collect(event)
                case "tags":
                    self.runs.tag(event)
                case "dataset":
                    self._dataset(event)
                case "artifact":
                    self._artifact(event)
                case "model":
                    self._model(event)
                case "end":
                    self._flush([event.run_key])
                    self.runs.end(event)
                case "stale":
                    self.runs.end_stale(event)
        except MlflowException as error:
            self._drop_if_refused(error, event.run_key)

    def _drop_if_refused(self, error: Any, run_key: str) -> None:
        if error.error_code == _DATABASE_FAULT:
            self._failures[run_key] += 1
            if self._failures[run_key] < ATTEMPTS:
                raise error
        elif error.error_code not in _REFUSED:
            raise error
        _log.warning("tracking: MLflow refused an event of %s: %s", run_key, " ".join(str(error).split())[:200])

    def _collect(self, event: Event) -> None:
        from mlflow.entities import Metric

        rows = self._pending.setdefault(event.run_key, [])
        step = int(event.data["step"])
        rows.extend(
            Metric(accepted_name(key), value, event.time_ms, step) for key, value in event.data["metrics"].items()
        )
        if len(rows) >= MAX_METRICS:
            self._flush([event.run_key])

    def _flush(self, run_keys: Iterable[str]) -> None:
        from mlflow.exceptions import MlflowException

        for run_key in run_keys:
            rows = self._pending.get(run_key) or []
            if not rows:
                continue
            run = self.runs.find(run_key, rows[0].timestamp)
            fresh: dict[tuple[str, int, str], Metric] = {}
            for row in rows:
                identity = (row.step, repr(float(row.value)))
                if identity not in self._rows(run, row.key):
                    fresh.setdefault((row.key, *identity), row)
            for part in in_parts(list(fresh.items()), MAX_METRICS):
                try:
                    self.runs.client.log_batch(run.run_id, metrics=[row for _, row in part], synchronous=True)
                except MlflowException as error:
                    self._drop_if_refused(error, run_key)
                for (key, step, text), _ in part:
                    run.rows[key].add((step, text))
            self._pending.pop(run_key)

    def _rows(self, run: TrackedRun, key: str) -> set[tuple[int, str]]:
        """What the run already has under `key`: a resume replays epochs, with other times but the same values."""
        if key not in run.rows:
            history = self.runs.client.get_metric_history(run.run_id, key) if run.existed else []
            run.rows[key] = {(row.step, repr(float(row.value))) for row in history}
        return run.rows[key]

    def _artifact(self, event: Event) -> None:
        folder = str(event.data.get("folder") or "")

        def send(source: Path, run_id: str) -> None:
            if source.is_dir():
                self.runs.client.log_artifacts(run_id, str(source), f"{folder}/{source.name}".lstrip("/"))
            else:
                self.runs.client.log_artifact(run_id, str(source), folder or None)

        self._send_files(event, send)

    def _model(self, event: Event) -> None:
        client, name, alias = self.runs.client, str(event.data["name"]), str(event.data["alias"])

        def send(source: Path, run_id: str) -> None:
            export = str(event.data["export"])
            known = known_version(client, name, export)
            found = known or add_version(client, source, name, run_id, export)
            if known is None or alias not in client.get_registered_model(name).aliases:
                client.set_registered_model_alias(name, alias, found)

        self._send_files(event, send)

    def _send_files(self, event: Event, send: Callable[[Path, str], None]) -> None:
        """Send what lies at the event's path, given up after `ATTEMPTS` failures that are not the store's."""
        from mlflow.exceptions import MlflowException

        source = Path(event.data["path"])
        if not source.exists():
            _log.warning("tracking: the artifact %s of %s is gone and was not sent", source.name, event.run_key)
            return
        run = self.runs.find(event.run_key, event.time_ms)
        try:
            send(source, run.run_id)
        except (OSError, MlflowException):
            self.runs.client.get_run(run.run_id)  # raises when it is the store that does not answer: then keep trying
            self._failures[str(source)] += 1
            if self._failures[str(source)] < ATTEMPTS:
                raise
            _log.warning("tracking: gave up sending the artifact %s after %d attempts", source, ATTEMPTS)

    def _dataset(self, event: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data, run = event.data, self.runs.find(event.run_key, event.time_ms)
        dataset = Dataset(
            data["name"], data["digest"], "local", json.dumps({"uri": data["source"]}), profile=json.dumps(data["rows"])
        )
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", data["context"])])
        self.runs.client.log_inputs(run.run_id, [used])


def experiment_id(client: Any, uri: str, name: str) -> str:
    """The experiment of this name, made where it is missing (another command may make it meanwhile)."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = artifact_root(uri)
        folder = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
        try:
            return str(client.create_experiment(name, artifact_location=None if root is None else str(root / folder)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
