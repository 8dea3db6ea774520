"""The Ray engine on one local cluster of two CPUs and two logical GPUs: it places, refuses, ends, resumes, and agrees
with the engine in process."""

import math
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.config.execution import (
    ActorPoolSettings,
    ClusterSettings,
    Execution,
    NodeKind,
    TrialSettings,
    WorkerSettings,
)
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.errors import ConfigError, DataError, NonFiniteLossError
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.micro_batches import MicroBatchWriter
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.stages import caption, describe, index, tune
from orchestrator.tracking import TrackingSettings
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.run import HISTORY, read_result, train
from orchestrator.training.student_file import STUDENT
from tests.on_ray.placement import PlacementWorker
from tests.on_ray.processes import our_ray_workers
from tests.smoke_line import SMOKE, SmokeLine, drop_arrays, make_smoke_line, quiet_context

pytestmark = pytest.mark.ray
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def smoke_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """Shards and embeddings of the smoke experiment, made in process."""
    return make_smoke_line(tmp_path_factory.mktemp("smoke_line"))


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """One cluster for all tests."""
    execution = Execution(
        name="test",
        storage_root=str(tmp_path_factory.mktemp("ray_runs")),
        cluster=ClusterSettings(num_cpus=2, num_gpus=2),
        tracking=TrackingSettings(kind="none"),
    )
    opened = RayExecutor(execution)
    yield opened
    opened.close()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def nothing(*_: Any) -> None:
    pass


def planned(folder: Path, *, num_rows: int, batch_size: int) -> Path:
    """A plan of rows that are numbers."""
    with MicroBatchWriter(folder / "plan.arrow", pa.schema([("row", pa.int64())]), batch_size) as writer:
        writer.add(pa.table({"row": list(range(num_rows))}))
    return folder / "plan.arrow"


def test_a_plan_that_can_never_be_placed_is_refused_with_the_arithmetic(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    worker, plan = PlacementWorker(str(tmp_path), 5), planned(tmp_path, num_rows=1, batch_size=1)
    with pytest.raises(ConfigError, match="a pool of 5 actors needs 5 CPUs at once, the cluster has 2"):
        executor.map_table(plan, worker, ActorPoolSettings(num_actors=5), nothing, nothing)
    pool = ActorPoolSettings(num_actors=2, num_cpus_per_actor=0.5, num_gpus_per_actor=1.5)
    with pytest.raises(ConfigError, match="needs 3 GPUs at once, the cluster has 2"):
        executor.map_table(plan, worker, pool, nothing, nothing)
    job = smoke_line.job(tmp_path / "job")
    with pytest.raises(ConfigError, match="training on 3 workers needs 3 CPUs"):
        executor.train(job, WorkerSettings(num_workers=3), nothing)
    with pytest.raises(ConfigError, match="4 trial workers needs 4 CPUs"):
        executor.train_many([job], TrialSettings(num_workers=4), nothing, nothing)
    odd = smoke_line.job(tmp_path / "odd", {"training.batch_size": 15})
    with pytest.raises(ConfigError, match="batch_size 15 on 2 workers"):
        executor.train(odd, WorkerSettings(num_workers=2), nothing)


def test_a_cluster_that_starts_nodes_when_work_waits_is_measured_by_what_it_may_grow_to(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = executor._cluster
    monkeypatch.setattr(cluster, "_grows_to", (NodeKind(num_nodes=2, num_cpus=4), NodeKind(num_nodes=1, num_cpus=1)))
    cluster.require("a plan", num_cpus=9, num_gpus=2)
    cluster.require_on_a_node("an actor", num_cpus=4, num_gpus=0)
    with pytest.raises(ConfigError, match="a plan needs 10 CPUs at once, the cluster may grow to 9"):
        cluster.require("a plan", num_cpus=10, num_gpus=0)
    with pytest.raises(ConfigError, match="5 CPUs and 0 GPUs on one node"):
        cluster.require_on_a_node("an actor", num_cpus=5, num_gpus=0)


def test_four_actors_share_two_gpus_by_halves_and_micro_batches_follow_the_rows(
    executor: RayExecutor, tmp_path: Path
) -> None:
    pool = ActorPoolSettings(num_actors=4, num_cpus_per_actor=0.25, num_gpus_per_actor=0.5, batch_size=5)
    receipts: list[dict[str, Any]] = []
    plan, places = planned(tmp_path, num_rows=38, batch_size=5), tmp_path / "places"
    places.mkdir()
    worker = PlacementWorker(str(places), 4)
    executor.map_table(plan, worker, pool, lambda told: receipts.extend(told.to_pylist()), nothing)
    assert sorted(receipt["rows"] for receipt in receipts) == [list(range(a, min(a + 5, 38))) for a in range(0, 38, 5)]
    gpu_of = {receipt["pid"]: tuple(receipt["gpus"]) for receipt in receipts}
    assert Counter(gpu_of.values()) == {("0",): 2, ("1",): 2}
    assert {receipt["gpu_share"] for receipt in receipts} == {0.5}
    assert os.getpid() not in gpu_of


@pytest.mark.parametrize("num_readers", [0, 1])
def test_captions_through_ray_equal_those_in_process(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path, num_readers: int
) -> None:
    shutil.copytree(smoke_line.context.folder / "index", tmp_path / "smoke" / "index")
    pool = ActorPoolSettings(num_actors=2, num_cpus_per_actor=1, num_readers=num_readers, batch_size=16)
    execution = smoke_line.context.execution.model_copy(update={"storage_root": str(tmp_path), "captioning": pool})
    context = type(smoke_line.context)(
        smoke_line.context.experiment, execution, smoke_line.context.tracker, smoke_line.context.feedback,
        lambda: executor,
    )  # fmt: skip
    made = caption.make(context, smoke_line.plans["index"])
    captions = [read_table(plan.folder / caption.CAPTIONS) for plan in (made, smoke_line.plans["caption"])]
    assert captions[0].equals(captions[1])
    stores = [caption.caption_store(each) for each in (context, smoke_line.context)]
    assert stores[0].digest() == stores[1].digest()
    totals, num_rows = [store.totals() for store in stores], len(stores[0].keys())
    assert totals[0]["model_rows"] == totals[1]["model_rows"] == num_rows
    assert totals[0]["commits"] == totals[0]["forwards"] == math.ceil(num_rows / 2 / 16)  # two prompts in one visit


def test_descriptions_through_ray_equal_those_in_process_and_refusals_come_back_in_words(
    executor: RayExecutor, tmp_path: Path
) -> None:
    overrides = ["texts.short={kind: written_description}"]
    alone = quiet_context(load_experiment(SMOKE, overrides), tmp_path / "alone")
    on_ray = replace(quiet_context(alone.experiment, tmp_path / "ray"), open_executor=lambda: executor)
    tables = []
    for context in (alone, on_ray):
        planned = describe.plan(context, index.make(context))
        assert planned is not None
        tables.append(read_table(describe.make(context, planned).folder / describe.DESCRIPTIONS))
    assert tables[0].equals(tables[1])
    empty = load_experiment(SMOKE, [*overrides, 'describer={kind: constant, text: " "}'])
    refused = replace(on_ray, experiment=empty)
    planned = describe.plan(refused, index.make(refused))
    assert planned is not None
    with pytest.raises(DataError, match="6 of 6 descriptions were not written: 'Use a single sentence"):
        describe.make(refused, planned)


def test_students_trained_side_by_side_are_those_trained_in_process_and_an_error_costs_one(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    jobs = [smoke_line.job(tmp_path / f"seed {seed}", {"training.init_seed": seed}) for seed in range(3)]
    jobs[1] = jobs[1].model_copy(update={"text_sources": (), "embeddings": str(tmp_path / "embeddings")})
    shutil.copytree(smoke_line.plans["embed"].folder, tmp_path / "embeddings")
    drop_arrays(tmp_path / "embeddings", "images/")
    done: dict[int, str] = {}
    executor.train_many(jobs, TrialSettings(num_workers=2, trials_per_worker=2), nothing, done.__setitem__)
    assert (done[0], done[2]) == ("", "")
    assert "image_distillation has a feature term" in done[1]
    alone = smoke_line.job(tmp_path / "alone", {"training.init_seed": 2})
    for _ in train(alone):
        pass
    assert (Path(jobs[2].folder) / STUDENT).read_bytes() == (Path(alone.folder) / STUDENT).read_bytes()


@pytest.mark.parametrize("loaders", ["processes", "ray_data"])
def test_one_worker_of_ray_train_trains_to_the_same_bits_and_loss_curve_as_in_process(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path, loaders: Literal["processes", "ray_data"]
) -> None:
    overrides = {"training.epochs": 2, "training.accumulation_steps": 2}
    alone, under = (smoke_line.job(tmp_path / name, overrides) for name in ("alone", "under"))
    for _ in train(alone):
        pass
    under = under.model_copy(update={"loading": InputSettings(loaders=loaders, num_loaders=1)})
    executor.train(under, WorkerSettings(num_workers=1), lambda _: None)
    assert (Path(alone.folder) / STUDENT).read_bytes() == (Path(under.folder) / STUDENT).read_bytes()
    told, told_too = (read_json(Path(job.folder) / HISTORY) for job in (alone, under))
    for row, row_too in zip(told, told_too, strict=True):
        assert {name: row[name] for name in row if not name.startswith("speed/")} == {
            name: row_too[name] for name in row_too if not name.startswith("speed/")
        }


def test_two_workers_train_a_student_and_a_killed_worker_costs_only_time(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    overrides = {"training.epochs": 120, "training.checkpoint_every_epochs": 5, "training.evaluate_every_epochs": 40}
    job = smoke_line.job(tmp_path / "two workers", overrides)
    killed: list[int] = []

    def on_progress(progress: Mapping[str, Any]) -> None:
        if not killed and 5 <= progress.get("epoch", 0) < 110 and (workers := our_ray_workers("TrainWorker")):
            assert len(workers) == 2
            killed.append(workers[-1])
            os.kill(workers[-1], signal.SIGKILL)

    executor.train(job, WorkerSettings(num_workers=2, max_failures=2), on_progress)
    assert len(killed) == 1
    metrics = read_result(Path(job.folder))["metrics"]
    assert 0 <= metrics["select/all"] <= 1
    history = read_json(Path(job.folder) / HISTORY)
    assert [row["epoch"] for row in history] == list(range(1, 121))
    assert all(math.isfinite(row["train/loss"]) for row in history)
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    assert eventually(lambda: our_ray_workers("TrainWorker") == [])


def test_a_loss_that_is_not_finite_reaches_the_user_as_it_was_raised(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    wild = {"training.optimizer": {"kind": "sgd", "learning_rate": 1e30}}
    job = smoke_line.job(tmp_path / "wild", wild)
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ \(.*\); images ") as error:
        executor.train(job, WorkerSettings(num_workers=1), nothing)
    assert "learning_rate" in str(error.value)


def test_a_teacher_tuned_in_a_ray_task_is_the_one_of_the_engine_in_process(
    executor: RayExecutor, tmp_path: Path
) -> None:
    tuning = {"head": "random", "epochs": 2, "batch_size": 16}
    changes = {"teacher_tuning": tuning, "image_teacher": {"kind": "open_clip"}}
    experiment = with_overrides(load_experiment(SMOKE), changes, "test")
    weights = []
    for name, engine in (("plain", InProcessExecutor()), ("ray", executor)):
        context = quiet_context(experiment, tmp_path / name)
        context.open_executor = lambda engine=engine: engine  # type: ignore[misc]
        plans = {"index": index.make(context)}
        planned = tune.plan(context, plans)
        assert planned is not None
        tune.make(context, plans, planned)
        weights.append((planned.folder / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
