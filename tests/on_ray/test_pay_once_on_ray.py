"""Rows that kill or stall their process, an actor that is killed, and a pool without a place, on a real cluster."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.config.execution import ActorPoolSettings, ClusterSettings, Execution
from orchestrator.executors.micro_batches import MicroBatchWriter
from orchestrator.executors.pay_once import PayOnce
from orchestrator.executors.protocol import TableFunction
from orchestrator.on_ray import stall
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.tracking import TrackingSettings
from tests.on_ray.processes import our_ray_workers
from tests.unit.executors.faulty import Faulty, items, key

pytestmark = pytest.mark.ray
NAMES = [f"good{number}" for number in range(40)]


@dataclass(frozen=True)
class FaultyWorker:
    """Opens the function whose items misbehave as their names say."""

    store: str
    timeout_s: float

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`."""
        return rows

    def reads(self) -> tuple[str, ...]:
        """See `TableWorker`."""
        return ()

    def open(self, *, own_process: bool) -> TableFunction:
        """See `TableWorker`."""
        return PayOnce(TeacherStore(self.store), "a run", (), Faulty(), self.timeout_s if own_process else None)


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """One cluster of two CPUs for all tests."""
    execution = Execution(
        name="test",
        storage_root=str(tmp_path_factory.mktemp("ray_runs")),
        cluster=ClusterSettings(num_cpus=2),
        tracking=TrackingSettings(kind="none"),
    )
    opened = RayExecutor(execution)
    yield opened
    opened.close()


def planned(folder: Path, names: list[str], batch_size: int = 4) -> Path:
    """A plan of items with these names."""
    rows = items(*names)
    with MicroBatchWriter(folder / "plan.arrow", rows.schema, batch_size) as writer:
        writer.add(rows)
    return folder / "plan.arrow"


def told(receipts: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Rows done, refused and reused."""
    return tuple(sum(receipt[name] for receipt in receipts) for name in ("done", "refused", "reused"))  # type: ignore[return-value]


def test_rows_that_kill_or_stall_their_actor_cost_only_themselves(executor: RayExecutor, tmp_path: Path) -> None:
    names = [*NAMES[:6], "kills", *NAMES[6:20], "hangs", *NAMES[20:]]
    store = TeacherStore(tmp_path / "store")
    receipts: list[dict[str, Any]] = []
    executor.map_table(
        planned(tmp_path, names), FaultyWorker(str(tmp_path / "store"), timeout_s=1.0),
        ActorPoolSettings(num_actors=2, num_cpus_per_actor=1, batch_size=4),
        lambda receipt: receipts.extend(receipt.to_pylist()), lambda reason: None,
    )  # fmt: skip
    refused = {row["key"]: row["error_class"] for row in store.refused().to_pylist()}
    assert refused == {key("kills"): "ProcessDied", key("hangs"): "TimedOut"}
    assert store.keys() == {key(name) for name in NAMES}
    assert sum(told(receipts)) == len(names)
    assert store.intents("").all() == []
    assert store.totals()["lost_attempts"] == 4 + 3  # twice all 4 rows, 2, 1; and all 4 rows, 2, 1 that ran out of time


def test_a_killed_actor_costs_at_most_its_micro_batch(executor: RayExecutor, tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "store")
    killed: list[int] = []
    receipts: list[dict[str, Any]] = []

    def on_receipt(receipt: pa.Table) -> None:
        receipts.extend(receipt.to_pylist())
        if not killed and (workers := our_ray_workers("MapWorker")):
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    executor.map_table(
        planned(tmp_path, NAMES, batch_size=2), FaultyWorker(str(tmp_path / "store"), timeout_s=60.0),
        ActorPoolSettings(num_actors=2, max_actors=2, num_cpus_per_actor=0.5, batch_size=2), on_receipt, print,
    )  # fmt: skip
    assert len(killed) == 1
    assert store.keys() == {key(name) for name in NAMES}
    assert sum(told(receipts)) == len(NAMES)
    totals = store.totals()
    assert totals["model_rows"] == len(NAMES)
    assert totals["lost_rows"] <= 2


def test_a_pool_that_finds_no_place_says_what_it_needs_and_what_is_free(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_cpus=2)
    class Holder:
        def hold(self) -> bool:
            return True

    holder = Holder.remote()
    assert ray.get(holder.hold.remote())
    monkeypatch.setattr(stall, "STALL_S", 2.0)
    reasons: list[str] = []

    def on_stall(reason: str) -> None:
        reasons.append(reason)
        ray.kill(holder)  # whoever held the place gives it back

    executor.map_table(
        planned(tmp_path, NAMES[:4]), FaultyWorker(str(tmp_path / "store"), timeout_s=60.0),
        ActorPoolSettings(num_actors=1, num_cpus_per_actor=1, batch_size=4), lambda receipt: None, on_stall,
    )  # fmt: skip
    assert "no micro-batch has ended for" in reasons[0]
    assert "1 CPU (0 of 2 free)" in reasons[0]
    assert TeacherStore(tmp_path / "store").keys() == {key(name) for name in NAMES[:4]}
