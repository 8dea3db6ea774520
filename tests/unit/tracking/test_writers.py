"""Eight writers at once, on SQLite and on a PostgreSQL-backed server that is killed meanwhile; answers that get lost.

No run is there twice, and nothing is missing.

Starts processes: the writers, PostgreSQL (skips where it is not installed) and MLflow's own server with passwords.
"""

import json
import multiprocessing
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from orchestrator.tracking import MlflowSink, Shipper, SpoolTracker, reach
from orchestrator.tracking.mlflow_runs import RUN_KEY_TAG
from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.server import ADMIN, MlflowServer
from tests.lossy_proxy import LossyProxy
from tests.mlflow_stores import PASSWORD, wait_for_runs
from tests.mlflow_writer import EXPERIMENT, NUM_EPOCHS, NUM_TRIALS, write

NUM_WRITERS = 8
SWEEP, TRIAL = "lost/sweep/s", "lost/sweep/s/trial/0000"
pytestmark = pytest.mark.slow


def _begin(uri: str, folder: Path, pause_s: float) -> list[multiprocessing.process.BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.mlflow_writer"])  # which imports MLflow, once for all writers
    told = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    writers = [
        context.Process(target=write, args=(uri, folder / f"root-{n}", pause_s, told), daemon=True)
        for n in range(NUM_WRITERS)
    ]
    for writer in writers:
        writer.start()
    return writers


def _prove(uri: str, writers: list[multiprocessing.process.BaseProcess]) -> None:
    for writer in writers:
        writer.join(timeout=1500)
    assert [writer.exitcode for writer in writers] == [0] * NUM_WRITERS
    client = open_client(uri)
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert len(found) == NUM_WRITERS * (1 + NUM_TRIALS), "no run is missing, none is there twice"
    assert len({(run.data.tags["orchestrator.root"], run.data.tags[RUN_KEY_TAG]) for run in found}) == len(found)
    assert {run.info.status for run in found} == {"FINISHED"}
    parents = {run.info.run_id: run for run in found if "mlflow.parentRunId" not in run.data.tags}
    assert len(parents) == NUM_WRITERS
    for run in found:
        if run.info.run_id in parents:
            continue
        parent = parents[run.data.tags["mlflow.parentRunId"]]
        assert parent.data.tags["orchestrator.root"] == run.data.tags["orchestrator.root"]
        told = client.get_metric_history(run.info.run_id, "select/few")
        assert [(row.step, row.value) for row in sorted(told, key=lambda row: row.step)] == [
            (epoch, epoch / 100) for epoch in range(NUM_EPOCHS)
        ]


def test_eight_commands_meet_a_new_sqlite_database_and_all_of_it_arrives_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    _prove(uri, _begin(uri, tmp_path, pause_s=0))


def test_the_server_asks_for_a_password_and_answers_only_under_its_names(
    server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.settings.url
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    question = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    told = {}
    for name, host in (("nobody", f"127.0.0.1:{server.settings.port}"), ("stranger", "attacker.example.org")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            direct.open(urllib.request.Request(question, headers={"Host": host}))
        told[name] = refused.value.code
    assert told == {"nobody": 401, "stranger": 403}
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    found, remedy = reach(url)
    assert "refuses us" in found
    assert "MLFLOW_TRACKING_PASSWORD" in remedy
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert reach(url)[1] == ""
    kept = [path for path in server.folder.rglob("*") if path.is_file() and "postgres" not in path.parts]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()], "the password is in no file or log"
    secrets = {path.name: oct(path.stat().st_mode & 0o777) for path in (server.folder / "secrets").iterdir()}
    assert secrets == {"postgres_password": "0o600", "session_key": "0o600"}  # pragma: allowlist secret


def _ship(shipper: Shipper) -> int:
    """Send until everything was accepted, as the command's thread does; returns how often a request failed."""
    for failures in range(100):
        try:
            shipper.ship_once()
        except MlflowException:
            continue
        return failures
    raise AssertionError("the store never accepts it")


def _runs(url: str, name: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = open_client(url)
    return list(client.search_runs([client.get_experiment_by_name(name).experiment_id], run_view_type=view))


def _tell(tracker: SpoolTracker, epochs: range) -> None:
    tracker.start_run(TRIAL, name="trial", parent_key=SWEEP, params={"weight": 0.5})
    tracker.start_run(SWEEP, name="sweep")
    for epoch in epochs:
        tracker.log_metrics(TRIAL, {"select/few": epoch / 100}, epoch)


def _prove_one_sweep_of_one_trial(url: str, name: str, num_epochs: int) -> None:
    runs = {run.data.tags[RUN_KEY_TAG]: run for run in _runs(url, name)}
    assert len(_runs(url, name)) == len(runs) == 2, "each run is there once"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    trial = runs[TRIAL]
    assert trial.data.tags["mlflow.parentRunId"] == runs[SWEEP].info.run_id
    assert trial.data.params == {"weight": "0.5"}
    assert trial.data.tags["outcome"] == "finished"
    told = open_client(url).get_metric_history(trial.info.run_id, "select/few")
    assert sorted((row.step, row.value) for row in told) == [(epoch, epoch / 100) for epoch in range(num_epochs)]


@pytest.mark.usefixtures("credentials")
def test_a_request_whose_answer_is_lost_is_repeated_and_shows_once(server: MlflowServer, tmp_path: Path) -> None:
    url, tracker = server.settings.url, SpoolTracker(tmp_path / "spool")
    with LossyProxy(url) as proxy:
        shipper = Shipper(tmp_path / "spool", MlflowSink(proxy.address, "answers", "r"))
        _tell(tracker, range(3))
        tracker.end_run(TRIAL, "KILLED", "the machine was lost")
        failures = _ship(shipper)
        _tell(tracker, range(5))  # goes on: what was said of its end is taken back
        tracker.end_run(TRIAL, "FINISHED")
        tracker.end_run(SWEEP, "FINISHED")
        failures += _ship(shipper)
    asked = {path.rpartition("mlflow/")[2] for path in proxy.lost}
    assert asked >= {
        "experiments/create", "runs/create", "runs/search", "runs/log-batch", "runs/update", "runs/delete-tag"
    }  # fmt: skip
    assert failures == len(proxy.lost)
    _prove_one_sweep_of_one_trial(url, "answers", 5)


@pytest.mark.parametrize("hold", [False, True], ids=["before its end", "after its end"])
@pytest.mark.usefixtures("credentials")
def test_a_create_that_comes_through_late_leaves_no_second_run(
    server: MlflowServer, tmp_path: Path, hold: bool
) -> None:
    url, tracker, name = server.settings.url, SpoolTracker(tmp_path / "spool"), f"late-{hold}"

    def key_of(body: bytes) -> str:
        return str({tag["key"]: tag["value"] for tag in json.loads(body)["tags"]}[RUN_KEY_TAG])

    with LossyProxy(url, late="runs/create", same=key_of, hold=hold) as proxy:
        shipper = Shipper(tmp_path / "spool", MlflowSink(proxy.address, name, "r"))
        _tell(tracker, range(3))
        for key in (TRIAL, SWEEP):
            tracker.end_run(key, "FINISHED")
        _ship(shipper)
        if hold:  # the next command finds runs that nobody goes on with
            assert proxy.release() == 2
            assert len(_runs(url, name)) == 4
            tracker.end_stale("lost", "left")
            _ship(shipper)
    _prove_one_sweep_of_one_trial(url, name, 3)
    assert len(_runs(url, name, ViewType.DELETED_ONLY)) == 2


@pytest.mark.usefixtures("credentials")
def test_eight_commands_on_postgres_lose_nothing_when_the_server_is_killed_and_comes_back(
    server: MlflowServer, tmp_path: Path
) -> None:
    url = server.settings.url
    writers = _begin(url, tmp_path, pause_s=0.2)
    wait_for_runs(url, EXPERIMENT, "tags.kind = 'trial'", 1)
    server.stop_serving(kill=True)
    time.sleep(2)
    server.serve()
    _prove(url, writers)
