"""From the spool into a real MLflow store on SQLite: nothing lost, nothing twice, one run per key."""

import logging
import math
import multiprocessing
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.tracking import (
    MlflowSink,
    Shipper,
    SpoolTracker,
    TrackingSettings,
    resolve_uri,
    tracking,
    ui_command,
)
from orchestrator.tracking.events import Event
from orchestrator.tracking.mlflow_store import open_client
from tests.mlflow_stores import Store

SWEEP, TRIAL = "demo/sweep/text", "demo/sweep/text/trial/0003"


def _run_trial(tracker: SpoolTracker, epochs: range, key: str = TRIAL, parent: str = SWEEP) -> None:
    params = {"losses.text.weight": 2.0, "optimizer.lr": 1e-3, "adaptor.depth": 1, "losses.name": "text", "ema": True}
    tracker.start_run(key, name="trial 0003", parent_key=parent, params=params, tags={"searcher": "tpe"})
    for epoch in epochs:
        tracker.log_metrics(key, {"loss.total": 1 / (epoch + 3), "select.all": float(epoch)}, step=epoch)


def _worker(spool_dir: Path, number: int) -> None:
    tracker = SpoolTracker(spool_dir)
    key = f"{SWEEP}/trial/{number:04d}"
    _run_trial(tracker, range(50), key)
    tracker.end_run(key, "FINISHED")


def test_a_sweep_becomes_a_parent_with_children_and_flat_numeric_parameters(store: Store, tmp_path: Path) -> None:
    tracker = SpoolTracker(store.spool_dir)
    _run_trial(tracker, range(3))
    for epochs in ("epoch 1: look", "epoch 1: look; epoch 2: again"):  # the later value is the one that stays
        tracker.set_tags(TRIAL, {"alarm.overfitting": epochs})
    tracker.end_run(TRIAL, "KILLED", "asha: below the best at epoch 3")
    tracker.start_run(SWEEP, name="text sweep")  # the parent reports later than its child
    report = tmp_path / "report.html"
    report.write_text("<p>42</p>")
    tracker.log_artifact(SWEEP, report, "report")
    report.unlink()
    tracker.end_run(SWEEP, "FINISHED")
    store.shipper("parent").ship_once()

    runs = store.runs("parent")
    sweep, trial = runs[SWEEP], runs[TRIAL]
    assert trial.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    assert (sweep.data.tags["kind"], trial.data.tags["kind"]) == ("sweep", "trial")
    assert (sweep.info.run_name, trial.info.run_name) == ("text sweep", "trial 0003")
    assert {key: float(trial.data.params[key]) for key in ("losses.text.weight", "optimizer.lr", "adaptor.depth")} == {
        "losses.text.weight": 2.0,
        "optimizer.lr": 1e-3,
        "adaptor.depth": 1.0,
    }
    assert (trial.data.params["losses.name"], trial.data.params["ema"]) == ("text", "true")
    assert (trial.info.status, sweep.info.status) == ("KILLED", "FINISHED")
    assert trial.data.tags["stop_reason"] == "asha: below the best at epoch 3"
    assert trial.data.tags["alarm.overfitting"] == "epoch 1: look; epoch 2: again"
    artifacts = open_client(store.uri).list_artifacts(sweep.info.run_id, "report")
    assert [item.path for item in artifacts] == ["report/report.html"]
    assert (Path(sweep.info.artifact_uri) / "report" / "report.html").read_text() == "<p>42</p>"
    assert not list((store.spool_dir / "artifacts").glob("*/*")), "the kept copy is removed once it was sent"


def test_a_resume_continues_the_same_run_and_replayed_epochs_appear_once(store: Store) -> None:
    first = SpoolTracker(store.spool_dir)
    _run_trial(first, range(5))
    first.end_run(TRIAL, "FAILED", "worker lost")
    store.shipper("resume").ship_once()
    before = store.runs("resume")[TRIAL]
    assert before.info.status == "FAILED"

    second = SpoolTracker(store.spool_dir)  # restarts from the checkpoint of epoch 2: epochs 3 and 4 are seen again
    _run_trial(second, range(3, 8))
    store.shipper("resume").ship_once()
    assert store.runs("resume")[TRIAL].info.status == "RUNNING"
    second.end_run(TRIAL, "FINISHED")
    store.shipper("resume").ship_once()

    after = store.runs("resume")[TRIAL]
    assert after.info.run_id == before.info.run_id
    assert after.info.status == "FINISHED"
    assert store.history(after, "loss.total") == [(epoch, 1 / (epoch + 3)) for epoch in range(8)]


def test_a_changed_parameter_is_noted_in_a_tag_and_stops_nothing(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run("demo/arm/a", name="a", params={"epochs": 10, "lr": 0.1})
    tracker.start_run("demo/arm/a", name="a", params={"epochs": 20, "lr": 0.1, "new": 1})
    store.shipper("changed").ship_once()
    run = store.runs("changed")["demo/arm/a"]
    assert run.data.params == {"epochs": "10", "lr": "0.1", "new": "1"}
    assert run.data.tags["param_changed.epochs"] == "10 -> 20"
    assert not [key for key in run.data.tags if key == "param_changed.lr"]


def test_shipping_everything_twice_changes_nothing(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run(SWEEP, name="text sweep")
    _run_trial(tracker, range(6))
    tracker.log_metrics(TRIAL, {"loss.total": math.nan}, step=6)
    tracker.end_run(TRIAL, "FINISHED")
    assert store.shipper("twice").ship_once() == 10
    once = store.runs("twice")
    (store.spool_dir / "shipped.json").unlink()  # killed between the acceptance and the note of it
    assert store.shipper("twice").ship_once() == 10

    again = store.runs("twice")
    assert {key: run.info.run_id for key, run in again.items()} == {key: run.info.run_id for key, run in once.items()}
    assert [step for step, _ in store.history(again[TRIAL], "loss.total")] == list(range(7))
    assert again[TRIAL].info.status == "FINISHED"
    assert store.shipper("twice").ship_once() == 0


def test_four_processes_report_at_once_and_every_epoch_arrives_once(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    SpoolTracker(store.spool_dir).start_run(SWEEP, name="text sweep")
    workers = [context.Process(target=_worker, args=(store.spool_dir, number)) for number in range(4)]
    with store.shipper("four") as shipper:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert shipper.drain(300)
    runs = store.runs("four")
    for number in range(4):
        trial = runs[f"{SWEEP}/trial/{number:04d}"]
        assert [step for step, _ in store.history(trial, "select.all")] == list(range(50))
        assert trial.info.status == "FINISHED"
        assert trial.data.tags["mlflow.parentRunId"] == runs[SWEEP].info.run_id


def test_more_metrics_and_parameters_than_one_request_takes_all_arrive(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run("wide", name="wide", params={f"p{i:03d}": i for i in range(230)})
    tracker.log_metrics("wide", {f"class {i:04d} (top-1)": i / 10 for i in range(2300)}, step=1)
    store.shipper("wide").ship_once()
    run = store.runs("wide")["wide"]
    assert len(run.data.params) == 230
    assert len(run.data.metrics) == 2300
    assert run.data.metrics["class 0042 _top-1_"] == 4.2


def test_an_unreachable_server_costs_nothing_and_the_next_command_sends_all(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    tracker = SpoolTracker(store.spool_dir)
    with caplog.at_level(logging.WARNING):
        shipper = Shipper(store.spool_dir, MlflowSink(closed, "later"), destination=closed, period_s=0.02, drain_s=0.5)
        with shipper:
            _run_trial(tracker, range(4))
            tracker.end_run(TRIAL, "FINISHED")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("orchestrator")]
    assert len(ours) == 2, ours  # one when it began, one at the end
    assert "kept" in ours[0]
    assert "6 events" in ours[1]
    assert "next command" in ours[1]
    assert all("\n" not in line for line in ours)

    with store.shipper("later") as second:
        assert second.drain(300)
    run = store.runs("later")[TRIAL]
    assert [step for step, _ in store.history(run, "loss.total")] == list(range(4))
    assert run.info.status == "FINISHED"


def test_a_server_that_never_answered_is_not_waited_for_to_the_end_of_the_patience(tmp_path: Path) -> None:
    class Deaf:
        asked = 0

        def send(self, events: Sequence[Event]) -> None:
            self.asked += 1
            raise OSError("nobody there")

    deaf = Deaf()
    SpoolTracker(tmp_path).log_metrics("run", {"x": 1.0}, 0)
    shipper = Shipper(tmp_path, deaf, period_s=0.02, drain_s=3600)
    assert not shipper.close()
    assert deaf.asked >= 4
    assert shipper.pending() == 1


def test_an_event_that_mlflow_refuses_does_not_hold_up_the_others(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run("deleted", name="deleted")
    shipper = store.shipper("refused")
    shipper.ship_once()
    open_client(store.uri).delete_run(store.runs("refused")["deleted"].info.run_id)
    tracker.log_metrics("deleted", {"x": 1.0}, 0)
    tracker.start_run("alive", name="alive")
    tracker.log_metrics("alive", {"x": 1.0}, 0)
    shipper.ship_once()
    assert store.runs("refused")["alive"].data.metrics == {"x": 1.0}
    assert shipper.pending() == 0


def test_a_second_shipper_leaves_the_spool_to_the_first(store: Store) -> None:
    SpoolTracker(store.spool_dir).log_metrics("run", {"x": 1.0}, 0)
    first, second = store.shipper("sole"), store.shipper("sole")
    with first._sole_shipper() as mine:
        assert mine
        assert second.ship_once() == 0
        assert second.pending() == 1
    assert second.ship_once() == 1
    assert first.pending() == 0


def test_one_command_tracks_into_the_database_under_its_storage_root(database: Path) -> None:
    with tracking(TrackingSettings(), database, "command") as tracker:
        tracker.start_run("demo/arm/a", name="a")
        tracker.end_run("demo/arm/a", "FINISHED")
    assert Store(database).runs("command")["demo/arm/a"].info.status == "FINISHED"
    with tracking(TrackingSettings(kind="none"), database / "none", "command") as tracker:
        tracker.start_run("x", name="x")
    assert not (database / "none").exists()


def test_the_environment_names_the_store_before_the_settings_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_uri(TrackingSettings(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri(TrackingSettings(uri="sqlite:///runs/a.db"), tmp_path) == f"sqlite:///{tmp_path}/runs/a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert resolve_uri(TrackingSettings(uri="sqlite:///a.db"), tmp_path) == "http://tracking:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(ConfigError, match="no longer keeps runs in folders"):
        resolve_uri(TrackingSettings(), tmp_path)


def test_the_ui_command_uses_the_mlflow_beside_this_python_and_only_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(sys.executable).parent
    monkeypatch.chdir(folder.parent.parent)
    script = (folder / "mlflow").relative_to(Path.cwd())
    assert ui_command(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlartifacts") == (
        f"{script} ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
        f" --default-artifact-root {tmp_path}/mlartifacts --host 127.0.0.1 --port 5000"
    )


def test_a_command_killed_while_it_ships_leaves_everything_to_the_next(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run(SWEEP, name="text sweep")
    for number in range(12):
        _run_trial(tracker, range(20), f"{SWEEP}/trial/{number:04d}")
    code = (
        "import pathlib, sys; from orchestrator.tracking import MlflowSink, Shipper;"
        "shipper = Shipper(pathlib.Path(sys.argv[1]), MlflowSink(sys.argv[2], 'killed'));"
        "print('ready', flush=True); shipper.ship_once()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(store.spool_dir), store.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        client, deadline = open_client(store.uri), time.monotonic() + 30
        while time.monotonic() < deadline:  # kill it as soon as its first runs are in the store
            experiment = client.get_experiment_by_name("killed")
            if experiment is not None and len(client.search_runs([experiment.experiment_id])) >= 2:
                break
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "it was still shipping"
    store.shipper("killed").ship_once()
    runs = store.runs("killed")
    assert len(runs) == 13
    for number in range(12):
        trial = runs[f"{SWEEP}/trial/{number:04d}"]
        assert [step for step, _ in store.history(trial, "loss.total")] == list(range(20))
