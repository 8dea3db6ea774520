"""One MLflow store, with what tests ask of it; and patience with a server's runs."""

import time
from pathlib import Path

from orchestrator.tracking import MlflowSink, Shipper
from orchestrator.tracking.mlflow_store import open_client

PASSWORD, PATIENCE_S = "a password of the tests", 1200.0


def wait_for_runs(uri: str, experiment: str, condition: str, count: int) -> None:
    """Wait until an experiment has so many runs for which a condition of MLflow's holds."""
    client, deadline = open_client(uri), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = client.get_experiment_by_name(experiment)
        if found is not None and len(client.search_runs([found.experiment_id], condition)) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"{experiment} never had {count} runs of which holds: {condition}")


class Store:
    """One MLflow store in its folder, with what the tests ask of it."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.spool_dir = folder / "spool"

    def shipper(self, experiment: str, root: str = "") -> Shipper:
        return Shipper(self.spool_dir, MlflowSink(self.uri, experiment, root), period_s=0.05)

    def runs(self, experiment: str) -> dict:
        client = open_client(self.uri)
        found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        keys = [run.data.tags["orchestrator.run_key"] for run in found]
        assert len(keys) == len(set(keys)), "one MLflow run per key"
        return dict(zip(keys, found, strict=True))

    def history(self, run, metric: str) -> list[tuple[int, float]]:
        rows = open_client(self.uri).get_metric_history(run.info.run_id, metric)
        return sorted((row.step, row.value) for row in rows)
