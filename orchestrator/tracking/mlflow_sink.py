"""Sends events to MLflow: one MLflow run per run key, for ever.

Reads and writes an MLflow store (SQLite file or server). A run is found again by its tag `orchestrator.run_key`, so
that a resumed command continues the same run. Everything here may be repeated without harm: a metric that the run
already has (same name, step and value) is not written twice, parameters are compared before they are written.
Knows nothing of spools. Imports mlflow inside functions only.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.events import Event, Scalar
from orchestrator.tracking.mlflow_store import artifact_root, open_client, prepare

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

RUN_KEY_TAG = "orchestrator.run_key"
PARENT_TAG = "mlflow.parentRunId"
MAX_METRICS = 1000  # per log_batch, the store's own limits (mlflow/utils/validation.py)
MAX_PARAMS = 100
MAX_KEY, MAX_PARAM_VALUE, MAX_TAG_VALUE = 250, 6000, 8000
ARTIFACT_ATTEMPTS = 5
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED"}
_log = logging.getLogger(__name__)


def kind_of(run_key: str) -> str:
    """The kind of run that a key names: trial, sweep, arm or run."""
    parts = run_key.split("/")
    return next((kind for kind in ("trial", "sweep", "arm") if kind in parts[:-1]), "run")


@dataclass
class _Run:
    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    existed: bool  # found in the store, hence may have a history that we have not seen
    rows: dict[str, set[tuple[int, str]]] = field(default_factory=dict)  # metric -> accepted (step, repr of value)


class MlflowSink:
    """Writes events to the experiment `experiment_name` of the store at `uri`.

    Nothing is contacted before the first `send`. `send` raises whatever the connection raises (the caller keeps the
    events and tries again); what the store refuses for good is dropped with one line of warning.
    """

    def __init__(self, uri: str, experiment_name: str) -> None:
        self.uri, self.experiment_name = uri, experiment_name
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._runs: dict[str, _Run] = {}
        self._pending: dict[str, list[Metric]] = {}
        self._artifact_failures: dict[str, int] = {}

    def send(self, events: Sequence[Event]) -> None:
        """Deliver events in order; when this returns, the store has accepted them."""
        self._connect()
        self._pending.clear()
        try:
            for event in events:
                self._deliver(event)
            self._flush(list(self._pending))
        finally:
            self._pending.clear()

    def _connect(self) -> None:
        if self._client is not None:
            return
        prepare(self.uri)
        client = open_client(self.uri)
        experiment = client.get_experiment_by_name(self.experiment_name)
        if experiment is None:
            root = artifact_root(self.uri)
            folder = re.sub(r"[^A-Za-z0-9._-]+", "_", self.experiment_name)
            location = None if root is None else str(root / folder)
            self._experiment_id = client.create_experiment(self.experiment_name, artifact_location=location)
        else:
            self._experiment_id = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(self._experiment_id)
        self._client = client

    @property
    def client(self) -> "MlflowClient":
        """The connected client."""
        assert self._client is not None, "send() connects first"
        return self._client

    def _deliver(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        try:
            match event.kind:
                case "start":
                    self._start(event)
                case "metrics":
                    self._collect(event)
                case "tags":
                    self._log_params_and_tags(self._find(event.run_key, event.time_ms), {}, event.data["tags"])
                case "artifact":
                    self._artifact(event)
                case "end":
                    self._end(event)
        except MlflowException as error:
            self._drop_if_refused(error, event.run_key)

    def _drop_if_refused(self, error: Any, run_key: str) -> None:
        if error.error_code not in _REFUSED:
            raise error
        _log.warning("tracking: MLflow refused an event of %s: %s", run_key, " ".join(str(error).split())[:200])

    def _start(self, event: Event) -> None:
        data = event.data
        tags = {"kind": kind_of(event.run_key)} | dict(data.get("tags") or {})
        if data.get("parent"):
            tags[PARENT_TAG] = self._find(data["parent"], event.time_ms).run_id
        run = self._find(event.run_key, event.time_ms, name=data["name"], tags=tags)
        if run.status != "RUNNING" or run.name != data["name"]:
            self.client.update_run(run.run_id, status="RUNNING", name=data["name"])
            run.status, run.name = "RUNNING", data["name"]
        params = {}
        for key, value in _param_texts(data.get("params") or {}).items():
            if key not in run.params:
                params[key] = value
            elif run.params[key] != value:  # a parameter cannot change in MLflow: note it in a tag
                tags[f"param_changed.{key}"] = f"{run.params[key]} -> {value}"
        self._log_params_and_tags(run, params, tags)

    def _log_params_and_tags(self, run: _Run, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        new_tags = {_name(key): str(value)[:MAX_TAG_VALUE] for key, value in tags.items()}
        new_tags = {key: value for key, value in new_tags.items() if run.tags.get(key) != value}
        for part in _parts(list(params.items()), MAX_PARAMS):
            self.client.log_batch(run.run_id, params=[Param(key, value) for key, value in part], synchronous=True)
            run.params.update(part)
        for part in _parts(list(new_tags.items()), MAX_PARAMS):
            self.client.log_batch(run.run_id, tags=[RunTag(key, value) for key, value in part], synchronous=True)
            run.tags.update(part)

    def _collect(self, event: Event) -> None:
        from mlflow.entities import Metric

        rows = self._pending.setdefault(event.run_key, [])
        step = int(event.data["step"])
        rows.extend(Metric(_name(key), value, event.time_ms, step) for key, value in event.data["metrics"].items())
        if len(rows) >= MAX_METRICS:
            self._flush([event.run_key])

    def _flush(self, run_keys: Iterable[str]) -> None:
        from mlflow.exceptions import MlflowException

        for run_key in run_keys:
            rows = self._pending.get(run_key) or []
            if not rows:
                continue
            run = self._find(run_key, rows[0].timestamp)
            fresh: dict[tuple[str, int, str], Metric] = {}
            for row in rows:
                identity = (row.step, repr(float(row.value)))
                if identity not in self._rows(run, row.key):
                    fresh.setdefault((row.key, *identity), row)
            for part in _parts(list(fresh.items()), MAX_METRICS):
                try:
                    self.client.log_batch(run.run_id, metrics=[row for _, row in part], synchronous=True)
                except MlflowException as error:
                    self._drop_if_refused(error, run_key)
                for (key, step, text), _ in part:
                    run.rows[key].add((step, text))
            self._pending.pop(run_key)

    def _rows(self, run: _Run, key: str) -> set[tuple[int, str]]:
        """What the run already has under `key`: a resume replays epochs, with other times but the same values."""
        if key not in run.rows:
            history = self.client.get_metric_history(run.run_id, key) if run.existed else []
            run.rows[key] = {(row.step, repr(float(row.value))) for row in history}
        return run.rows[key]

    def _artifact(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        source, folder = Path(event.data["path"]), str(event.data.get("folder") or "")
        if not source.exists():
            _log.warning("tracking: the artifact %s of %s is gone and was not sent", source.name, event.run_key)
            return
        run = self._find(event.run_key, event.time_ms)
        try:
            if source.is_dir():
                self.client.log_artifacts(run.run_id, str(source), f"{folder}/{source.name}".lstrip("/"))
            else:
                self.client.log_artifact(run.run_id, str(source), folder or None)
        except (OSError, MlflowException):
            self.client.get_run(run.run_id)  # raises when it is the store that does not answer: then keep trying
            failures = self._artifact_failures.get(str(source), 0) + 1
            self._artifact_failures[str(source)] = failures
            if failures < ARTIFACT_ATTEMPTS:
                raise
            _log.warning("tracking: gave up sending the artifact %s after %d attempts", source, failures)

    def _end(self, event: Event) -> None:
        self._flush([event.run_key])
        run = self._find(event.run_key, event.time_ms)
        if event.data.get("stop_reason"):
            self._log_params_and_tags(run, {}, {"stop_reason": event.data["stop_reason"]})
        self.client.set_terminated(run.run_id, status=event.data["status"], end_time=event.time_ms)
        run.status = event.data["status"]

    def _find(self, run_key: str, time_ms: int, *, name: str = "", tags: Mapping[str, str] | None = None) -> _Run:
        """The run of this key: known, found in the store, or made now (a parent that has not reported yet is made under
        its key and completed when its own start arrives)."""
        if run_key in self._runs:
            return self._runs[run_key]
        quote = '"' if "'" in run_key else "'"
        query = f"tags.`{RUN_KEY_TAG}` = {quote}{run_key}{quote}"
        oldest_first = ["attributes.start_time ASC"]
        found = self.client.search_runs([self._experiment_id], query, max_results=1, order_by=oldest_first)
        if found:
            entity = found[0]
        else:
            first = {"kind": kind_of(run_key), "mlflow.source.name": "orchestrator", "mlflow.source.type": "LOCAL"}
            first |= {_name(key): str(value)[:MAX_TAG_VALUE] for key, value in (tags or {}).items()}
            first[RUN_KEY_TAG] = run_key
            name = name or run_key
            entity = self.client.create_run(self._experiment_id, start_time=time_ms, tags=first, run_name=name)
        run = _Run(
            run_id=entity.info.run_id,
            name=entity.info.run_name or "",
            status=entity.info.status,
            params=dict(entity.data.params),
            tags=dict(entity.data.tags),
            existed=bool(found),
        )
        self._runs[run_key] = run
        return run


def _name(key: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:MAX_KEY]


def _param_texts(params: Mapping[str, Scalar]) -> dict[str, str]:
    """Parameters as MLflow keeps them: text, but numbers so that its charts read them as numbers."""
    texts = {}
    for key, value in params.items():
        text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
        texts[_name(key)] = text[:MAX_PARAM_VALUE]
    return texts


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
