"""What is always right of a run in MLflow: whose it is, how it ended and why, what it read, where its links lead."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from orchestrator.tracking import NOTE_TAG, SpoolTracker, TrackedDataset, TrackingSettings, tracking
from orchestrator.tracking.machine import MachineMetrics
from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.presence import Presence
from orchestrator.tracking.spool import read_spool
from tests.mlflow_stores import Store

SWEEP, TRIAL, OTHER = "demo/sweep/text", "demo/sweep/text/trial/0003", "demo/sweep/text/trial/0004"


def test_a_run_that_goes_on_forgets_why_it_had_stopped(store: Store) -> None:
    tracker, shipper = SpoolTracker(store.spool_dir), store.shipper("why")
    told = []
    for status, reason in (("FAILED", "worker lost"), ("FINISHED", "stopped early"), ("FINISHED", "")):
        tracker.start_run(TRIAL, name="trial")
        shipper.ship_once()
        tags = store.runs("why")[TRIAL].data.tags
        assert not {"outcome", "stop_reason"} & set(tags)
        tracker.end_run(TRIAL, status, reason)
        shipper.ship_once()
        run = store.runs("why")[TRIAL]
        told.append((run.info.status, run.data.tags["outcome"], run.data.tags.get("stop_reason")))
    assert told == [
        ("FAILED", "failed", "worker lost"),
        ("FINISHED", "stopped", "stopped early"),
        ("FINISHED", "finished", None),
    ]


def test_the_same_sheet_under_two_storage_roots_has_runs_of_its_own_in_one_experiment(
    store: Store, tmp_path: Path
) -> None:
    for root, value in (("a", 1.0), ("b", 2.0)):
        mine = Store(Path(store.uri.removeprefix("sqlite:///")).parent)
        mine.spool_dir = tmp_path / root
        tracker = SpoolTracker(mine.spool_dir)
        tracker.start_run(TRIAL, name="trial", parent_key=SWEEP)
        tracker.log_metrics(TRIAL, {"x": value}, 1)
        mine.shipper("roots", root).ship_once()
    client = open_client(store.uri)
    found = client.search_runs([client.get_experiment_by_name("roots").experiment_id])
    assert len(found) == 4
    told = {(run.data.tags["orchestrator.root"], run.data.metrics.get("x")) for run in found}
    assert told == {("a", 1.0), ("b", 2.0), ("a", None), ("b", None)}


def test_a_description_links_to_runs_and_the_data_are_named_once(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run(SWEEP, name="sweep")
    tracker.start_run(TRIAL, name="trial", params={"text_sources": ["truth", "targeted"], "losses.text": None})
    tracker.set_tags(SWEEP, {NOTE_TAG: f"best: [0003](run:{TRIAL}), see [us](https://example.org)"})
    for _ in range(2):
        tracker.log_dataset(TRIAL, TrackedDataset("shapes", "abc123", "the embedded world", {"train": 62}))
    store.shipper("note").ship_once()
    runs = store.runs("note")
    trial = runs[TRIAL]
    link = f"#/experiments/{trial.info.experiment_id}/runs/{trial.info.run_id}"
    assert runs[SWEEP].data.tags[NOTE_TAG] == f"best: [0003]({link}), see [us](https://example.org)"
    assert trial.data.params == {"text_sources": "truth+targeted", "losses.text": "none"}
    [used] = trial.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.dataset.profile) == ("shapes", "abc123", '{"train": 62}')
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def _command_that_is_killed(root: Path) -> None:
    with tracking(TrackingSettings(), root, "demo") as tracker:
        for key in ("demo", SWEEP, TRIAL, OTHER, "demonstration/arm/a"):
            tracker.start_run(key, name=key)
        tracker.log_metrics(OTHER, {"x": 1.0}, 1)
        tracker.end_run(OTHER, "FINISHED")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_command_left_running_is_ended_by_the_next_one_and_only_that(database: Path) -> None:
    store = Store(database)
    process = multiprocessing.get_context("spawn").Process(target=_command_that_is_killed, args=(database,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with Presence(store.spool_dir, "demo") as other:
        other.is_alone()
        with tracking(TrackingSettings(), database, "demo"):
            pass
    runs = store.runs("demo")
    assert {key for key, run in runs.items() if run.info.status == "RUNNING"} == {
        "demo", SWEEP, TRIAL, "demonstration/arm/a"
    }, "while another command of the experiment lives, they may be its runs"  # fmt: skip

    with tracking(TrackingSettings(), database, "demo") as tracker:
        tracker.start_run(TRIAL, name="trial goes on")
    runs = store.runs("demo")
    assert runs[OTHER].info.status == "FINISHED"
    assert runs["demonstration/arm/a"].info.status == "RUNNING", "another experiment's"
    told = {key: (runs[key].info.status, runs[key].data.tags["stop_reason"]) for key in (SWEEP, TRIAL)}
    assert told == {
        SWEEP: ("KILLED", "its command ended without a word: killed, or the machine was lost"),
        TRIAL: ("KILLED", "the command ended before it did"),
    }
    assert runs[TRIAL].info.run_name == "trial goes on"


def test_the_machine_is_told_under_the_names_of_mlflows_own_page(store: Store) -> None:
    tracker = SpoolTracker(store.spool_dir)
    tracker.start_run("demo", name="demo")
    with MachineMetrics(tracker, "demo", period_s=0.05):
        for _ in range(200):
            time.sleep(0.1)
            if [one for one in read_spool(store.spool_dir, {}) if one.event.kind == "metrics"]:
                break
    store.shipper("machine").ship_once()
    metrics = store.runs("machine")["demo"].data.metrics
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert 0 < metrics["system/system_memory_usage_percentage"] <= 100
    assert {name.split("/")[0] for name in metrics} == {"system"}
