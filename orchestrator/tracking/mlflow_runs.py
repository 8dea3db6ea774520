"""The runs of one MLflow experiment: each found again by its key, begun, described, ended, and never left open.

Reads and writes an MLflow store through a client. A run is identified by its tag `orchestrator.run_key` together with
`orchestrator.root`, the identity of the storage root whose commands report it: two people who run the same sheet
against one server have two runs. Knows nothing of spools. Imports mlflow inside functions only.

MLflow draws a run's number itself and takes no key of ours. So when the answer to a create is lost, the create is
repeated, and both may come through, the first one even later than the second: the store is asked again wherever that
can show, and of two runs with one identity the one that has something in it stays.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.events import NOTE_TAG, Event, Scalar

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun
    from mlflow.tracking import MlflowClient

RUN_KEY_TAG, ROOT_TAG = "orchestrator.run_key", "orchestrator.root"
PARENT_TAG = "mlflow.parentRunId"
OUTCOME_TAG, REASON_TAG = "outcome", "stop_reason"
MAX_PARAMS = 100  # per log_batch, the store's own limit (mlflow/utils/validation.py)
MAX_KEY, MAX_PARAM_VALUE, MAX_TAG_VALUE = 250, 6000, 8000
PAGE = 1000
_RUN_LINK = re.compile(r"\]\(run:([^)]+)\)")
_log = logging.getLogger(__name__)


def kind_of(run_key: str) -> str:
    """The kind of run that a key names: trial, sweep, arm or run."""
    parts = run_key.split("/")
    return next((kind for kind in ("trial", "sweep", "arm") if kind in parts[:-1]), "run")


def accepted_name(key: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:MAX_KEY]


def in_parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size`."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


@dataclass
class TrackedRun:
    """What we know of one run of the store.

    `existed`: it was found in the store, hence may have a history that we have not seen. `rows`: accepted metrics,
    name -> (step, repr of value).
    """

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    existed: bool
    rows: dict[str, set[tuple[int, str]]] = field(default_factory=dict)


class Runs:
    """The runs of `experiment_id` that belong to the storage root `root` ("": to any)."""

    def __init__(self, client: "MlflowClient", experiment_id: str, root: str) -> None:
        self.client, self.experiment_id, self.root = client, experiment_id, root
        self._known: dict[str, TrackedRun] = {}
        self._doubtful: set[str] = set()  # keys of runs with a create whose answer was lost

    def forget(self) -> None:
        """A request failed, and nobody knows whether it was carried out: from now on the store is asked again."""
        self._known.clear()

    def find(self, run_key: str, time_ms: int, *, name: str = "", tags: Mapping[str, str] | None = None) -> TrackedRun:
        """The run of this key: known, found in the store, or made now (a parent that has not reported yet is made under
        its key and completed when its own start arrives)."""
        if run_key in self._known:
            return self._known[run_key]
        entity = self._stored(run_key)
        existed = entity is not None
        if entity is None:
            first = {"kind": kind_of(run_key), "mlflow.source.name": "orchestrator", "mlflow.source.type": "LOCAL"}
            first |= {accepted_name(key): str(value)[:MAX_TAG_VALUE] for key, value in (tags or {}).items()}
            first[RUN_KEY_TAG] = run_key
            if self.root:
                first[ROOT_TAG] = self.root
            name = name or run_key
            try:
                entity = self.client.create_run(self.experiment_id, start_time=time_ms, tags=first, run_name=name)
            except Exception:
                self._doubtful.add(run_key)
                raise
        run = TrackedRun(
            run_id=entity.info.run_id,
            name=entity.info.run_name or "",
            status=entity.info.status,
            params=dict(entity.data.params),
            tags=dict(entity.data.tags),
            existed=existed,
        )
        self._known[run_key] = run
        return run

    def begin(self, event: Event) -> None:
        """Begin or resume a run; what was said of its end holds no longer."""
        data, tags = event.data, {"kind": kind_of(event.run_key)} | dict(event.data.get("tags") or {})
        if data.get("parent"):
            tags[PARENT_TAG] = self.find(data["parent"], event.time_ms).run_id
        run = self.find(event.run_key, event.time_ms, name=data["name"], tags=tags)
        if run.status != "RUNNING" or run.name != data["name"]:
            self.client.update_run(run.run_id, status="RUNNING", name=data["name"])
            run.status, run.name = "RUNNING", data["name"]
        for key in (OUTCOME_TAG, REASON_TAG):
            self._remove_tag(run, key)
        params = {}
        for key, value in _param_texts(data.get("params") or {}).items():
            if key not in run.params:
                params[key] = value
            elif run.params[key] != value:  # a parameter cannot change in MLflow: note it in a tag
                tags[f"param_changed.{key}"] = f"{run.params[key]} -> {value}"
        self.write(run, params, tags)

    def tag(self, event: Event) -> None:
        """Set tags; in a description, `[text](run:KEY)` becomes a link to the run of that key."""
        tags = dict(event.data["tags"])
        if NOTE_TAG in tags:
            tags[NOTE_TAG] = _RUN_LINK.sub(lambda link: f"]({self._address(link[1], event.time_ms)})", tags[NOTE_TAG])
        self.write(self.find(event.run_key, event.time_ms), {}, tags)

    def write(self, run: TrackedRun, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write what the run does not have yet."""
        from mlflow.entities import Param, RunTag

        new_tags = {accepted_name(key): str(value)[:MAX_TAG_VALUE] for key, value in tags.items()}
        new_tags = {key: value for key, value in new_tags.items() if run.tags.get(key) != value}
        for part in in_parts(list(params.items()), MAX_PARAMS):
            self.client.log_batch(run.run_id, params=[Param(key, value) for key, value in part], synchronous=True)
            run.params.update(part)
        for part in in_parts(list(new_tags.items()), MAX_PARAMS):
            self.client.log_batch(run.run_id, tags=[RunTag(key, value) for key, value in part], synchronous=True)
            run.tags.update(part)

    def end(self, event: Event) -> None:
        """Set the terminal status, the outcome in a word, and why where there is a why."""
        if event.run_key in self._doubtful:
            self._stored(event.run_key)
            self._doubtful.discard(event.run_key)
        run = self.find(event.run_key, event.time_ms)
        self._end(run, event.data["status"], str(event.data.get("stop_reason") or ""), event.time_ms)

    def end_stale(self, event: Event) -> None:
        """Every run below the key that is still RUNNING was left by a process that is gone: it was killed."""
        below = f"{event.run_key}/"
        query = self._mine(f"attributes.status = 'RUNNING' and tags.`{RUN_KEY_TAG}` LIKE {_quoted(f'{below}%')}")
        for entity in list(self._search(query)):
            key = entity.data.tags[RUN_KEY_TAG]
            if not key.startswith(below):  # in LIKE, the underscore of a name stands for any character
                continue
            kept = self._stored(key)
            if kept is not None and kept.info.run_id == entity.info.run_id:  # else a late double, removed by now
                self._known.pop(key, None)
                self._end(self.find(key, event.time_ms), "KILLED", str(event.data["reason"]), event.time_ms)

    def _stored(self, run_key: str) -> "StoredRun | None":
        """The one run of this key in the store; doubles that a repeated create left are removed."""
        found = list(self._search(self._mine(f"tags.`{RUN_KEY_TAG}` = {_quoted(run_key)}")))
        found.sort(key=lambda one: (-_size(one), one.info.start_time, one.info.run_id))
        for double in found[1:]:
            if not double.data.metrics:  # a create leaves none: what has some is not ours to remove
                self._replace(double, found[0].info.run_id)
        return found[0] if found else None

    def _replace(self, double: "StoredRun", kept: str) -> None:
        from mlflow.exceptions import MlflowException

        for child in list(self._search(f"tags.`{PARENT_TAG}` = '{double.info.run_id}'")):
            self.client.set_tag(child.info.run_id, PARENT_TAG, kept)
        try:
            self.client.delete_run(double.info.run_id)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":
                raise
            _log.warning("tracking: may not remove run %s, an empty double of %s", double.info.run_id, kept)

    def _end(self, run: TrackedRun, status: str, reason: str, time_ms: int) -> None:
        outcome = {"FAILED": "failed", "KILLED": "killed"}.get(status, "stopped" if reason else "finished")
        if not reason:
            self._remove_tag(run, REASON_TAG)
        self.write(run, {}, {OUTCOME_TAG: outcome} | ({REASON_TAG: reason} if reason else {}))
        self.client.set_terminated(run.run_id, status=status, end_time=time_ms)
        run.status, run.existed = status, True
        run.rows.clear()  # thousands of trials; looked up again should it go on

    def _remove_tag(self, run: TrackedRun, key: str) -> None:
        if key in run.tags:
            self.client.delete_tag(run.run_id, key)
            del run.tags[key]

    def _address(self, run_key: str, time_ms: int) -> str:
        return f"#/experiments/{self.experiment_id}/runs/{self.find(run_key, time_ms).run_id}"

    def _mine(self, query: str) -> str:
        return f"{query} and tags.`{ROOT_TAG}` = {_quoted(self.root)}" if self.root else query

    def _search(self, query: str) -> Iterator["StoredRun"]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], query, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _size(run: "StoredRun") -> int:
    return len(run.data.metrics) + len(run.data.params) + len(run.data.tags)


def _quoted(text: str) -> str:
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def _param_texts(params: Mapping[str, Scalar]) -> dict[str, str]:
    """Parameters as MLflow keeps them: text, but numbers so that its charts read them as numbers."""
    texts = {}
    for key, value in params.items():
        text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
        texts[accepted_name(key)] = text[:MAX_PARAM_VALUE]
    return texts
