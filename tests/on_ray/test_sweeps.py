"""Sweeps on one real cluster: packed trials equal those in process, stopped ones leave nothing behind, populations go
on from one another's states, and neither a worker's death nor the driver's costs anything but time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.execution import ClusterSettings, Execution, TrialSettings
from orchestrator.errors import ConfigError
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.on_ray.trial_journal import Journal, TrialTurn, kept_state, read_history, read_lineage, read_turn
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult
from orchestrator.tracking import TrackingSettings
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.student_file import STUDENT
from tests.on_ray.processes import our_ray_workers
from tests.on_ray.small_sweeps import (
    RATE,
    WEIGHT,
    eventually,
    in_process,
    job_of,
    nothing,
    outcome,
    space_of,
    student,
    what_is_left,
)
from tests.smoke_line import PROJECT, SmokeLine, make_smoke_line

pytestmark = pytest.mark.ray


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
        cluster=ClusterSettings(num_cpus=2, num_gpus=1),
        tracking=TrackingSettings(kind="none"),
    )
    opened = RayExecutor(execution)
    yield opened
    opened.close()


def test_a_packed_sweep_equals_the_one_in_process_to_the_last_bit_and_a_trial_that_fails_fails_alone(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    points = [{WEIGHT: 0.5, RATE: 1e-3}, {WEIGHT: 1.0, RATE: 1e30}, {WEIGHT: 2.0, RATE: 2e-3}]
    points.append({WEIGHT: 3.0, RATE: 1e-3})
    space = space_of(points, epochs=2)
    alone = in_process(smoke_line, tmp_path / "alone", space)
    told: list[str] = []
    packed = executor.sweep(
        job_of(smoke_line, tmp_path / "packed", space), TrialSettings(num_workers=1, trials_per_worker=3), nothing,
        told.append,
    )  # fmt: skip
    assert outcome(packed) == outcome(alone)
    assert [one.status for one in packed] == ["finished", "failed", "finished", "finished"]
    assert "the loss is" in packed[1].error
    for number in (0, 2, 3):
        assert student(tmp_path / "packed", number) == student(tmp_path / "alone", number)
    assert told[0] == (
        "1 trial worker of 3 trials, 1 CPU and 0 GPUs for each worker: 1 of 2 CPUs and 0 of 1 GPUs of the cluster"
    )


def test_asha_stops_trials_by_a_word_and_nothing_is_left_of_them(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    points = [{RATE: rate} for rate in (1e-3, 1e-12, 2e-3, 1e-11, 1e-12)]
    space = space_of(points, epochs=4, scheduler={"kind": "asha", "grace_epochs": 1, "reduction_factor": 2})
    job, trials = job_of(smoke_line, tmp_path, space), TrialSettings(num_workers=2, num_gpus_per_worker=0.5)
    told: list[TrialResult] = []
    results = executor.sweep(job, trials, told.append, nothing)
    assert [one.number for one in results] == list(range(5))
    stopped = [one for one in results if one.status == "stopped"]
    assert stopped
    assert {one.status for one in results} == {"finished", "stopped"}
    for one in stopped:  # trained not a step further, and what they have learnt is kept
        assert one.epochs < 4
        kept = read_json(tmp_path / "trials" / f"{one.number:04d}" / "checkpoints" / "latest.json")
        assert kept["step"] == one.epochs * 3
        assert not (tmp_path / "trials" / f"{one.number:04d}" / STUDENT).exists()
    assert {(one.number, one.status) for one in told if one.has_ended} == {(one.number, one.status) for one in results}
    assert eventually(lambda: what_is_left() == []), what_is_left()
    assert eventually(lambda: ray.available_resources().get("CPU") == 2)
    again: list[TrialResult] = []
    assert outcome(executor.sweep(job, trials, again.append, nothing)) == outcome(results)
    assert again == []


def test_the_median_rule_stops_the_hopeless_and_hyperband_pauses_and_ends_every_trial(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    points = [{RATE: rate} for rate in (1e-3, 1e-12, 3e-3, 1e-11)]
    space = space_of(points, epochs=4, scheduler={"kind": "median", "grace_epochs": 1, "min_trials": 1})
    one_by_one = TrialSettings(num_workers=1)  # side by side the order of their reports decides, too
    results = executor.sweep(job_of(smoke_line, tmp_path / "median", space), one_by_one, nothing, nothing)
    assert [(one.status, one.epochs) for one in results] == [
        ("finished", 4), ("stopped", 1), ("finished", 4), ("stopped", 1)
    ]  # fmt: skip
    points = [{RATE: rate} for rate in (1e-3, 1e-12, 3e-3, 1e-11, 2e-3, 1e-10, 1e-3, 1e-9)]  # fills two brackets
    space = space_of(points, epochs=4, scheduler={"kind": "hyperband", "reduction_factor": 2})
    many = TrialSettings(trials_per_worker=8)
    results = executor.sweep(job_of(smoke_line, tmp_path / "hyperband", space), many, nothing, nothing)
    assert [one.number for one in results] == list(range(8))
    assert {one.status for one in results} == {"finished", "stopped"}
    assert all((one.epochs == 4) == (one.status == "finished") for one in results)


def test_a_worker_that_dies_costs_time_and_only_the_trial_that_always_takes_it_along_fails(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    epochs = 30
    never = {"kind": "median", "grace_epochs": epochs, "min_trials": 9}  # stops none, and is asked after each epoch
    space = space_of([{RATE: 1e-3}, {RATE: 2e-3}], epochs=epochs, scheduler=never)
    alone = in_process(smoke_line, tmp_path / "alone", space)
    killed: list[int] = []

    def kill(result: TrialResult) -> None:
        workers = [pid for pid in our_ray_workers("TrialWorker") if pid not in killed]
        if result.number == 1 and result.status == "running" and len(killed) < 3 and workers:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    events: list[str] = []
    job = job_of(smoke_line, tmp_path / "ray", space)
    results = executor.sweep(job, TrialSettings(num_workers=1, trials_per_worker=2), kill, events.append)
    assert len(killed) == 3
    assert outcome(results)[0] == outcome(alone)[0]
    assert student(tmp_path / "ray", 0) == student(tmp_path / "alone", 0)
    assert results[1].status == "failed"
    assert "died three times" in results[1].error
    assert sum("go on from their checkpoints" in event for event in events) == 3
    assert eventually(lambda: what_is_left() == []), what_is_left()


DRIVER = """
import sys
from pathlib import Path
from orchestrator.config.execution import ClusterSettings, Execution, TrialSettings
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.search.space import SearchSpace
from tests.on_ray.small_sweeps import job_of, nothing
from tests.smoke_line import make_smoke_line

line, folder, together, address = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
space = SearchSpace.model_validate_json((folder / "space.json").read_bytes())
cluster = ClusterSettings(address=address)
executor = RayExecutor(Execution(name="driver", storage_root=str(folder / "root"), cluster=cluster))
trials = TrialSettings(num_workers=1, trials_per_worker=together)
executor.sweep(job_of(make_smoke_line(line), folder, space), trials, nothing, nothing)
"""


def killed_driver_of(
    line: SmokeLine, folder: Path, space: SearchSpace, together: int, has_come: Callable[[], bool]
) -> None:
    """Run a sweep in a driver of its own, on the cluster of this one, and kill it as soon as it has come so far."""
    write_json(folder / "space.json", space.model_dump(mode="json"))
    given = [line.context.execution.storage_root, str(folder), str(together), ray.get_runtime_context().gcs_address]
    log = folder / "log"
    with log.open("wb") as file:
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, *given], cwd=PROJECT, stdout=file, stderr=file)
        while driver.poll() is None and not has_come():
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert driver.returncode == -signal.SIGKILL, log.read_text()
    assert eventually(lambda: what_is_left() == []), what_is_left()


def test_after_a_kill_of_the_driver_asha_decides_as_without_it_and_no_trial_that_ended_is_repeated(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    asha = {"kind": "asha", "grace_epochs": 2, "reduction_factor": 2}
    space = space_of([{RATE: rate} for rate in (2e-3, 1e-12, 3e-3, 1e-11)], epochs=12, scheduler=asha)
    one_by_one = TrialSettings(num_workers=1)  # side by side the order of their reports decides, too
    undisturbed = executor.sweep(job_of(smoke_line, tmp_path / "undisturbed", space), one_by_one, nothing, nothing)
    assert {one.status for one in undisturbed} == {"finished", "stopped"}
    folder, third = tmp_path / "killed", TrialTurn(2, {})
    killed_driver_of(smoke_line, folder, space, 1, lambda: len(read_history(folder, third)) >= 2)
    ended = {path.name: path.read_bytes() for path in (folder / "ended").iterdir()}
    told_before = read_history(folder, third)
    assert sorted(ended)[:2] == ["0000.json", "0001.json"]
    assert "0003.json" not in ended
    told: list[TrialResult] = []
    results = executor.sweep(job_of(smoke_line, folder, space), one_by_one, told.append, nothing)
    assert outcome(results) == outcome(undisturbed)
    assert {name: (folder / "ended" / name).read_bytes() for name in ended} == ended
    assert not {f"{one.number:04d}.json" for one in told} & set(ended)
    assert read_history(folder, third)[: len(told_before)] == told_before


def test_a_population_is_decided_by_results_however_many_train_at_once_and_whenever_its_driver_is_killed(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    pbt = {"kind": "pbt", "interval_epochs": 1, "quantile_fraction": 0.5, "resample_fraction": 0.0}
    space = space_of([{RATE: 3e-3}, {RATE: 1e-12}], epochs=3, scheduler=pbt)
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    job, two = job_of(smoke_line, undisturbed, space), TrialSettings(num_workers=1, trials_per_worker=2)
    results = executor.sweep(job, two, nothing, nothing)
    assert [(one.status, one.epochs) for one in results] == [("finished", 3), ("finished", 3)]
    first, *_ = read_lineage(undisturbed, 1)
    assert (first.epoch, first.start) == (1, str(kept_state(undisturbed, TrialTurn(0, {}), 1)))
    assert first.values[RATE] in (pytest.approx(3e-3 * 0.8), pytest.approx(3e-3 * 1.2))
    begun, donor = Journal(first.folder(undisturbed)).rows, read_history(undisturbed, TrialTurn(0, {}))
    assert begun[0]["epoch"] == 2
    assert begun[0]["train/loss"] < donor[0]["train/loss"]
    assert results[1].values == read_turn(undisturbed, 1, {}).values

    killed_driver_of(smoke_line, folder, space, 1, lambda: bool(read_lineage(folder, 1)))
    again = executor.sweep(job_of(smoke_line, folder, space), TrialSettings(num_workers=1), nothing, nothing)
    assert outcome(again) == outcome(results)
    assert student(folder, 0) == student(undisturbed, 0)
    newest = [read_turn(one, 1, {}).folder(one) / STUDENT for one in (folder, undisturbed)]
    assert newest[0].read_bytes() == newest[1].read_bytes()
    with pytest.raises(ConfigError, match="from one another's states"):
        executor.sweep(job, TrialSettings(num_train_workers=2), nothing, nothing)


def test_pb2_moves_the_worst_within_the_bounds(executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path) -> None:
    pb2 = {"kind": "pb2", "interval_epochs": 1, "quantile_fraction": 0.5}
    space = space_of([{WEIGHT: 0.1}, {WEIGHT: 5.0}], epochs=4, scheduler=pb2, bounds=(0.1, 5.0))
    two = TrialSettings(num_workers=1, trials_per_worker=2)
    results = executor.sweep(job_of(smoke_line, tmp_path, space), two, nothing, nothing)
    assert [(one.status, one.epochs) for one in results] == [("finished", 4), ("finished", 4)]
    moved = [one for number in (0, 1) for one in read_lineage(tmp_path, number)]
    assert [one.values[WEIGHT] for one in moved if one.epoch == 1] == [0.1]  # nothing is known of a change yet
    assert {one.epoch for one in moved} == {1, 2, 3}
    assert all(0.1 <= one.values[WEIGHT] <= 5.0 for one in moved)


def test_trials_on_several_workers_are_train_runs_that_stop_by_a_word_and_leave_no_placement_group(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    points = [{RATE: 2e-3}, {RATE: 1e-12}]
    space = space_of(points, epochs=60, scheduler={"kind": "asha", "grace_epochs": 5, "reduction_factor": 2})
    results = executor.sweep(
        job_of(smoke_line, tmp_path, space), TrialSettings(num_train_workers=2), nothing, nothing
    )  # fmt: skip
    assert [one.status for one in results] == ["finished", "stopped"]
    assert results[0].epochs == 60
    assert 5 <= results[1].epochs < 60
    assert eventually(lambda: what_is_left() == []), what_is_left()
    assert eventually(lambda: ray.available_resources().get("CPU") == 2)


def test_trials_that_can_never_run_are_refused_with_the_arithmetic(
    executor: RayExecutor, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    job = job_of(smoke_line, tmp_path, space_of([{RATE: 1e-3}], epochs=1))
    with pytest.raises(ConfigError, match="2 trials of 2 workers needs 4 CPUs at once, the cluster has 2"):
        executor.sweep(job, TrialSettings(num_workers=2, num_train_workers=2), nothing, nothing)
    loading = job.template.model_copy(update={"loading": InputSettings(num_loaders=2)})
    with pytest.raises(ConfigError, match="num_cpus_per_worker 3, or input"):
        executor.sweep(replace(job, template=loading), TrialSettings(), nothing, nothing)
