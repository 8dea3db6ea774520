"""Ray Train on two raylets: a node is drained and lost, errors keep their words, and numbers of workers change."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import WorkerSettings
from orchestrator.errors import ConfigError, NonFiniteLossError
from orchestrator.on_ray.train import train_distributed
from orchestrator.training.run import HISTORY, TrainingJob, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine, make_smoke_line

pytestmark = pytest.mark.ray
PREEMPTION = 2  # DRAIN_NODE_REASON_PREEMPTION of Ray's autoscaler protocol


@pytest.fixture(scope="module")
def smoke_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """Shards and embeddings of the smoke experiment, made in process."""
    return make_smoke_line(tmp_path_factory.mktemp("smoke_line"))


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes with a CPU each, and the second of them."""
    monkeypatch.setenv("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def once_after(epoch: int, do: Callable[[], None]) -> tuple[list[int], Callable[[Mapping[str, Any]], None]]:
    """A progress callback that does something once an epoch is over, and when it did."""
    done: list[int] = []

    def on_progress(told: Mapping[str, Any]) -> None:
        if not done and told.get("epoch", 0) >= epoch:
            done.append(told["epoch"])
            do()

    return done, on_progress


def test_a_drained_node_is_lost_and_the_rest_go_on_with_the_same_global_batch(
    two_nodes: tuple[Cluster, Any], smoke_line: SmokeLine, tmp_path: Path
) -> None:
    cluster, second = two_nodes
    # No BatchNorm, and SGD, which does not magnify rounding as Adam does.
    overrides = {
        "training.epochs": 200, "training.checkpoint_every_epochs": 200, "training.evaluate_every_epochs": 200,
        "student": {"kind": "timm", "name": "test_vit", "image_size": 32}, "adaptor.depth": 0,
        "training.optimizer": {"kind": "sgd", "learning_rate": 0.005},
    }  # fmt: skip
    job = smoke_line.job(tmp_path / "elastic", overrides)
    folder = Path(job.folder) / "checkpoints"

    def drain_and_lose() -> None:
        assert not list(folder.glob("step-*.json"))
        deadline_ms = int((time.time() + 60) * 1000)
        GcsClient(address=cluster.address).drain_node(second.node_id, PREEMPTION, "test", deadline_ms)
        patience = time.monotonic() + 50
        while not list(folder.glob("step-*.json")) and time.monotonic() < patience:
            time.sleep(0.1)
        assert list(folder.glob("step-*.json")), "the notice wished a checkpoint"
        cluster.remove_node(second, allow_graceful=False)

    done, on_progress = once_after(5, drain_and_lose)
    workers = WorkerSettings(num_workers=(1, 2), max_failures=3)
    train_distributed(job, workers, tmp_path / "ray", on_progress)
    assert done
    assert done[0] < 150
    history = read_json(Path(job.folder) / HISTORY)
    assert [row["epoch"] for row in history] == list(range(1, 201))
    alone = smoke_line.job(tmp_path / "alone", overrides)
    for _ in train(alone):
        pass
    one, other = (load_file(Path(made.folder) / STUDENT) for made in (job, alone))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_loss_that_is_not_finite_reaches_the_user_as_it_was_raised(
    two_nodes: tuple[Cluster, Any], smoke_line: SmokeLine, tmp_path: Path
) -> None:
    wild = {"training.optimizer": {"kind": "sgd", "learning_rate": 1e30}}
    job: TrainingJob = smoke_line.job(tmp_path / "wild", wild)
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ \(.*\); images ") as error:
        train_distributed(job, WorkerSettings(num_workers=2), tmp_path / "ray", lambda told: None)
    assert "learning_rate" in str(error.value)
    with pytest.raises(ConfigError, match="batch_size 16 on 3 workers") as refused:
        train_distributed(job, WorkerSettings(num_workers=(1, 4)), tmp_path / "ray", lambda told: None)
    assert "a multiple of 12" in str(refused.value)
