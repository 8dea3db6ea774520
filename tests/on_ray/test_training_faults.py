"""Ray Train on two raylets: a node is drained and lost and another one comes, and workers train on as many as fit."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from torch import Tensor

from orchestrator.config.execution import WorkerSettings
from orchestrator.errors import Stopped
from orchestrator.on_ray.folders import Folders
from orchestrator.on_ray.preemption import STOP
from orchestrator.on_ray.train import train_distributed
from orchestrator.training.checkpoint import read_state
from orchestrator.training.run import TrainingJob, train
from tests.on_ray.processes import our_ray_workers
from tests.smoke_line import make_smoke_line
from tests.stop_at import StopAt

pytestmark = pytest.mark.ray
PREEMPTION = 2  # DRAIN_NODE_REASON_PREEMPTION of Ray's autoscaler protocol
PATIENCE_S = 400.0
CHECKPOINT_EVERY_EPOCHS, STEPS_PER_EPOCH = 10, 3
# No BatchNorm (its statistics are each worker's own), and SGD, which does not magnify rounding as Adam does: with this
# rate, rounding is magnified to 2e-4 of the way in some thousand steps; how many are made depends on the machine.
OVERRIDES: dict[str, Any] = {
    "training.epochs": 100_000, "training.evaluate_every_epochs": 100_000,
    "training.checkpoint_every_epochs": CHECKPOINT_EVERY_EPOCHS,
    "training.schedule": {"kind": "step", "milestones": [50_000]},
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32}, "adaptor.depth": 0,
    "training.optimizer": {"kind": "sgd", "learning_rate": 3e-5},
}  # fmt: skip


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


class Disturbance:
    """Called with the progress: loses the second node, gives another one back, and ends the training.

    Each follows when the one before has shown: workers of the new number have finished an epoch.
    """

    def __init__(self, cluster: Cluster, node: Any, folder: Path) -> None:
        self._cluster, self._node, self._folder = cluster, node, folder
        self._begun, self._since, self._acts = time.monotonic(), -1, [self._lose, self._give_back, self._end]
        self.seen: list[int] = []  # numbers of workers, each before what follows it

    def __call__(self, told: Mapping[str, Any]) -> None:
        if not self._acts:
            return
        if time.monotonic() - self._begun > PATIENCE_S:
            self._acts.clear()
            self._end()
            return
        wanted, epoch = (2, 1, 2)[len(self.seen)], int(told.get("epoch", 0))
        if len(our_ray_workers("TrainWorker")) != wanted:
            self._since = -1
        elif self._since < 0:
            self._since = epoch
        elif epoch > self._since:
            self.seen.append(wanted)
            self._since = -1
            self._acts.pop(0)()

    def _lose(self) -> None:
        deadline_ms = int((time.time() + 60) * 1000)
        GcsClient(address=self._cluster.address).drain_node(self._node.node_id, PREEMPTION, "test", deadline_ms)
        patience = time.monotonic() + 50
        while not (noticed := self._has_kept_one_of_no_epoch()) and time.monotonic() < patience:
            time.sleep(0.1)
        assert noticed, "the notice wished a checkpoint"
        self._cluster.remove_node(self._node, allow_graceful=False)

    def _has_kept_one_of_no_epoch(self) -> bool:
        """Whether there is a checkpoint that is not due after an epoch."""
        steps = [int(path.stem[5:]) for path in self._folder.glob("checkpoints/step-*.json")]
        return any(step % (CHECKPOINT_EVERY_EPOCHS * STEPS_PER_EPOCH) for step in steps)

    def _give_back(self) -> None:
        self._cluster.add_node(num_cpus=1)

    def _end(self) -> None:
        (self._folder / STOP).touch()


def newest(job: TrainingJob) -> dict[str, Any]:
    return read_state(sorted(Path(job.folder).glob("checkpoints/step-*.pt"))[-1])


def flat(state: dict[str, Any]) -> Tensor:
    """Every weight in one vector."""
    return torch.cat([weight.double().flatten() for weight in state["model"].values()])


def train_to(job: TrainingJob, num_steps: int) -> dict[str, Any]:
    """Go on in this process for so many steps; the state then."""
    with pytest.raises(Stopped):
        list(train(job, notice=StopAt(num_steps)))
    return newest(job)


def test_a_drained_node_is_lost_and_another_comes_and_the_global_batch_stays(
    two_nodes: tuple[Cluster, Any], tmp_path: Path
) -> None:
    line = make_smoke_line(tmp_path / "line")
    job, alone = (line.job(tmp_path / name, OVERRIDES) for name in ("elastic", "alone"))
    disturb = Disturbance(*two_nodes, Path(job.folder))
    workers = WorkerSettings(num_workers=(1, 2), max_failures=3, resize_every_s=2)
    train_distributed(job, workers, tmp_path / "ray", Folders(tmp_path), disturb)
    assert disturb.seen == [2, 1, 2]
    stopped_at = newest(job)["step"]
    changing = train_to(job, 4)  # on one worker again
    assert changing["step"] == stopped_at + 4
    straight = flat(train_to(alone, changing["step"]))
    begun = flat(train_to(line.job(tmp_path / "start", OVERRIDES), 1))
    way = (straight - begun).norm()
    assert way > 1e-3 * begun.norm(), "training changes the weights by far more than rounding"
    # two halves of a batch, each with negatives of its own, end a quarter of the way apart
    assert (flat(changing) - straight).norm() < 0.01 * way
    assert [row["epoch"] for row in changing["history"]] == list(range(1, len(changing["history"]) + 1))
