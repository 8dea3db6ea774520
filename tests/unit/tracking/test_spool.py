"""The spool: what processes write is what the reader returns, whatever happens to the last line."""

import math
import multiprocessing
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from orchestrator.tracking import MemoryTracker, NullTracker, SpoolTracker, Tracker
from orchestrator.tracking.events import Event, flat_scalars
from orchestrator.tracking.spool import read_spool


def _tell_a_story(tracker: Tracker) -> None:
    tracker.start_run(
        "demo/arm/a", name="a", params={"lr": 1e-3, "loss": {"text": {"weight": 2}}}, tags={"kind": "arm"}
    )
    tracker.log_metrics("demo/arm/a", {"loss": 1.5}, step=0)
    tracker.log_metrics("demo/arm/a", {"loss": math.nan}, step=1)
    tracker.set_tags("demo/arm/a", {"alarm.overfitting": "epoch 1: look at it"})
    tracker.end_run("demo/arm/a", "FINISHED", "all epochs done")


def _log_in_process(tracker: SpoolTracker, number: int, count: int) -> None:
    for step in range(count):
        tracker.log_metrics(f"run/{number}", {"value": number + step / 1000}, step)


def test_importing_tracking_loads_no_mlflow() -> None:
    code = "import sys, orchestrator.tracking; print([m for m in ('mlflow', 'torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_tracker_takes_the_same_story(tmp_path: Path) -> None:
    for tracker in (NullTracker(), MemoryTracker(), SpoolTracker(tmp_path)):
        assert isinstance(tracker, Tracker)
        _tell_a_story(tracker)


def test_the_memory_tracker_remembers_curves_and_the_reason_for_stopping() -> None:
    tracker = MemoryTracker()
    _tell_a_story(tracker)
    run = tracker.runs["demo/arm/a"]
    assert run.params == {"lr": 1e-3, "loss.text.weight": 2}
    assert run.metrics["loss"][0] == (0, 1.5)
    assert run.tags == {"kind": "arm", "alarm.overfitting": "epoch 1: look at it"}
    assert (run.status, run.stop_reason) == ("FINISHED", "all epochs done")


def test_events_come_back_in_order_with_all_they_said(tmp_path: Path) -> None:
    _tell_a_story(SpoolTracker(tmp_path))
    events = [item.event for item in read_spool(tmp_path, {})]
    assert [event.kind for event in events] == ["start", "metrics", "metrics", "tags", "end"]
    assert events[0].data["params"] == {"lr": 1e-3, "loss.text.weight": 2}
    assert math.isnan(events[2].data["metrics"]["loss"])
    assert Event.from_line(events[0].to_line()) == events[0]


def test_a_torn_last_line_is_left_alone_and_a_damaged_middle_line_is_skipped(tmp_path: Path) -> None:
    _tell_a_story(SpoolTracker(tmp_path))
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"event":"end","run":"demo/arm/a","ti')
    assert len(read_spool(tmp_path, {})) == 5
    file.write_bytes(b'{"event":"start","run\n' + whole)
    assert [item.event.kind for item in read_spool(tmp_path, {})] == ["start", "metrics", "metrics", "tags", "end"]


def test_reading_goes_on_behind_the_given_offsets(tmp_path: Path) -> None:
    _tell_a_story(SpoolTracker(tmp_path))
    everything = read_spool(tmp_path, {})
    rest = read_spool(tmp_path, {everything[1].file: everything[1].end_offset})
    assert [item.event for item in rest] == [item.event for item in everything[2:]]


def test_a_pickled_tracker_writes_a_file_of_its_own(tmp_path: Path) -> None:
    tracker = SpoolTracker(tmp_path)
    tracker.log_metrics("run", {"x": 1.0}, 0)
    copy = pickle.loads(pickle.dumps(tracker))
    copy.log_metrics("run", {"x": 2.0}, 1)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert [item.event.data["metrics"]["x"] for item in read_spool(tmp_path, {})] == [1.0, 2.0]


def test_four_processes_lose_no_event(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_log_in_process, args=(SpoolTracker(tmp_path), n, 200)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    items = read_spool(tmp_path, {})
    for number in range(4):
        mine = [item.event for item in items if item.event.run_key == f"run/{number}"]
        assert [event.data["step"] for event in mine] == list(range(200))
    assert len({item.file for item in items}) == 4


def test_a_small_artifact_survives_the_removal_of_its_source(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>result</p>")
    SpoolTracker(tmp_path / "spool").log_artifact("run", report, "reports")
    report.unlink()
    (item,) = read_spool(tmp_path / "spool", {})
    assert (tmp_path / "spool" / item.event.data["copy"]).read_text() == "<p>result</p>"


def test_a_spool_that_cannot_be_written_does_not_stop_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    _tell_a_story(SpoolTracker(tmp_path / "file" / "spool"))


def test_numbers_of_numpy_stay_numbers_in_flat_parameters() -> None:
    flat = flat_scalars(
        {"a": np.float64(0.5), "b": {"c": np.int64(3), "d": None}, "e": [1, 2], "f": True, "g": ("x", "y")}
    )
    assert flat == {"a": 0.5, "b.c": 3, "b.d": None, "e": "[1, 2]", "f": True, "g": "x+y"}


def test_events_of_several_processes_are_merged_by_their_time(tmp_path: Path) -> None:
    trackers = [SpoolTracker(tmp_path) for _ in range(3)]
    for number in range(30):
        trackers[number % 3].log_metrics("run", {"x": float(number)}, number)
        time.sleep(1e-5)
    assert [item.event.data["step"] for item in read_spool(tmp_path, {})] == list(range(30))
