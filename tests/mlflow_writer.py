"""A whole command's reporting, for tests that start several such processes: what they need is imported once, here."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow.entities
import mlflow.store.tracking.sqlalchemy_store
import mlflow.tracking  # noqa: F401

from orchestrator.tracking import TrackingSettings, tracking

EXPERIMENT, NUM_TRIALS, NUM_EPOCHS = "eight", 2, 30


def write(uri: str, root: Path, pause_s: float, environment: Mapping[str, str]) -> None:
    """A sweep of two trials, told at the pace of a training, then drained."""
    os.environ.update(environment)
    with tracking(TrackingSettings(uri=uri), root, EXPERIMENT, drain_s=1200, max_unheard_failures=10_000) as tracker:
        sweep = f"{EXPERIMENT}/sweep/s"
        tracker.start_run(sweep, name="sweep")
        trials = [f"{sweep}/trial/{number:04d}" for number in range(NUM_TRIALS)]
        for number, key in enumerate(trials):
            tracker.start_run(key, name=f"trial {number}", parent_key=sweep, params={"weight": number / 10})
        for epoch in range(NUM_EPOCHS):
            for key in trials:
                tracker.log_metrics(key, {"train/loss": 1 / (epoch + 1), "select/few": epoch / 100}, epoch)
            time.sleep(pause_s)
        for key in trials:
            tracker.end_run(key, "FINISHED")
        tracker.end_run(sweep, "FINISHED")
