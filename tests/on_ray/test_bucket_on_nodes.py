"""A cluster whose nodes share no folder, with its storage root in a bucket: the results are those of one process.

The second node is a raylet with mounts of its own, to which the command's folder is another one; all work goes there.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster

from benchmarks.bucket_line import content
from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import ClusterSettings, Execution
from orchestrator.errors import ConfigError
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.on_ray.folders import FolderServer
from orchestrator.tracking import TrackingSettings
from orchestrator.training.input_settings import InputSettings
from tests.mlflow_stores import Store
from tests.on_ray.small_sweeps import RATE

pytestmark = pytest.mark.ray
PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
LINE = ["jobs/experiments/smoke.yaml", "arms={distilled: {}}", "training.epochs=2"]
ONE_EACH = {
    f"{part}.{name}": value
    for part, unit in (("captioning", "actor"), ("embedding", "actor"), ("training", "worker"), ("trials", "worker"))
    for name, value in ((f"num_{unit}s", 1), (f"num_cpus_per_{unit}", 1), (f"num_gpus_per_{unit}", 0))
}
ON_RAY = {**ONE_EACH, "captioning.num_readers": 0, "embedding.num_readers": 0, "input.num_loaders": 0,
          "cluster.grows_to": "[]"}  # fmt: skip


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """Address of a cluster whose head takes no work; a folder; and what the other node sees in its place."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("a process may have no mounts of its own here (unshare -m)")
    tmp_path = tmp_path_factory.mktemp("nodes")
    here, there = tmp_path / "scratch", tmp_path / "scratch-of-the-other-node"
    here.mkdir(), there.mkdir()
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    start = f"exec {Path(sys.executable).parent}/ray start --address={cluster.address} --num-cpus=2 --block"
    with (tmp_path / "node.log").open("wb") as log:
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f"mount --bind {there} {here} && {start} --object-store-memory=100000000"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        deadline = time.monotonic() + PATIENCE_S
        while ray.cluster_resources().get("CPU", 0) < 2:
            assert node.poll() is None, (tmp_path / "node.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "node.log").read_text()
            time.sleep(0.2)
        ray.shutdown()
        yield cluster.address, here, there
    finally:
        ray.shutdown()
        node.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(30)
        node.kill()
        cluster.shutdown()


def run(sheet: str, settings: dict[str, Any], *overrides: str, job: str = "run") -> None:
    """A job in a process of its own."""
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        f"jobs.{job}",
        *LINE,
        *overrides,
        "--execution",
        f"jobs/executions/{sheet}.yaml",
        *given,
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def tracked(store: Store) -> dict[str, tuple[str, str]]:
    """What MLflow has of each run that does not depend on speed, as text (some numbers are none)."""
    told = ("select/", "objective", "train/")
    return {
        key: (
            run.info.status,
            repr({name: store.history(run, name) for name in sorted(run.data.metrics) if name.startswith(told)}),
        )
        for key, run in store.runs("smoke").items()
    }


def test_a_bucket_serves_nodes_that_share_no_folder(
    elsewhere: tuple[str, Path, Path], s3_uri: str, tmp_path: Path
) -> None:
    address, here, there = elsewhere
    stores = [Store(tmp_path / name) for name in ("one", "many")]
    for store in stores:
        store.spool_dir.parent.mkdir()
    run("in_process", {"storage_root": tmp_path / "plain", "tracking.uri": stores[0].uri})
    on_nodes = {"storage_root": s3_uri, "scratch": here, "cluster.address": address, "tracking.uri": stores[1].uri}
    run("cluster", {**ON_RAY, **on_nodes})
    (work,) = (path for path in here.iterdir() if path.is_dir())
    wanted, found = content(tmp_path / "plain" / "smoke"), content(work / "smoke")
    assert found == wanted
    assert tracked(stores[1]) == tracked(stores[0])
    copies = {path.relative_to(there / work.name / "smoke").parts[0] for path in there.glob("*/smoke/**/*")}
    space = yaml.safe_load((PROJECT / "search_spaces" / "smoke.yaml").read_text())
    space |= {
        "name": "stopping", "objectives": {"train/loss": "min"},
        "parameters": {RATE: {"kind": "loguniform", "low": 1e-13, "high": 1e-2}},
        "points": [{RATE: rate} for rate in (2e-3, 1e-12, 3e-3, 1e-11)],
        "scheduler": {"kind": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "fixed": {"training.epochs": 4, "training.evaluate_every_epochs": 1}, "budget": {"num_trials": 4},
    }  # fmt: skip
    (tmp_path / "stopping.yaml").write_text(yaml.safe_dump(space))
    one_by_one = {"trials.trials_per_worker": 1}  # side by side the order of their reports decides, too
    run("cluster", {**ON_RAY, **on_nodes, **one_by_one}, f"sweep.space={tmp_path / 'stopping.yaml'}", job="sweep")
    sweep = work / "smoke" / "sweeps" / "stopping"
    trials = read_json(sweep / "trials.json")["trials"]
    assert [(trial["status"], trial["epochs"]) for trial in trials] == [
        ("finished", 4), ("stopped", 1), ("finished", 4), ("stopped", 1)
    ]  # fmt: skip
    for trial in trials:
        (copy,) = there.glob(f"*/smoke/sweeps/stopping/trials/{trial['number']:04d}/told.jsonl")
        told = [json.loads(line) for line in copy.read_text().splitlines()]
        assert [row["epoch"] for row in told] == list(range(1, trial["epochs"] + 1)), "no epoch that was told is lost"
        assert trial["metrics"]["train/loss"] == told[-1]["train/loss"]
    assert {"index", "captions", "embeddings", "shards", "sweeps", "arms"} <= copies, "the work was done over there"


def test_what_cannot_work_with_copies_is_refused_and_told_what_can(
    elsewhere: tuple[str, Path, Path], s3_uri: str
) -> None:
    address, here, _ = elsewhere
    execution = Execution(
        name="test", storage_root=s3_uri, scratch=str(here), cluster=ClusterSettings(address=address),
        tracking=TrackingSettings(kind="none"),
    )  # fmt: skip

    @ray.remote(num_cpus=1)  # which the head has not
    def serve() -> str:
        try:
            FolderServer(execution, is_own=False)
        except ConfigError as error:
            return str(error)
        return ""

    ray.init(address=address, log_to_driver=False)
    told = ray.get(serve.remote())
    ray.shutdown()
    assert "does not run on the head node" in told
    assert "orchestrator submit" in told
    by_ray_data = execution.model_copy(update={"input": InputSettings(loaders="ray_data", num_loaders=1)})
    with pytest.raises(ConfigError, match="ray_data"):
        RayExecutor(by_ray_data)
