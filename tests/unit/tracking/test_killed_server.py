"""A sweep and its arms tell all of it to a PostgreSQL-backed server that is killed while they do, once.

One trial after another in this process; `eight_trials.py` does the same with eight at once on Ray. Starts PostgreSQL
(skips where it is not installed) and MLflow's own server.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy
import yaml

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.execution import ClusterSettings, Execution, TrialSettings
from orchestrator.config.load import load_experiment
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.protocol import Executor
from orchestrator.search.sweep_folder import ENDED, SweepFolder
from orchestrator.stages import line
from orchestrator.stages.command import tracked
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import NullTracker, TrackingSettings
from orchestrator.tracking.mlflow_runs import RUN_KEY_TAG
from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.server import MlflowServer
from tests.mlflow_stores import wait_for_runs
from tests.smoke_line import PROJECT, SMOKE

NUM_TRIALS, NUM_ARM_EPOCHS = 8, 12
AT_WORK = "tags.kind = 'trial' and attributes.status = 'RUNNING'"
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Way:
    """How a sweep's trials run.

    Attributes:
        at_once: so many of the eight are at work when the server is killed (0: it has heard of one).
        num_epochs: of each: those that run together have to be at work for some seconds.
    """

    engine: Literal["in_process", "ray"]
    trials: TrialSettings
    open_executor: Callable[[Execution], Executor]
    at_once: int
    num_epochs: int


ONE_BY_ONE = Way("in_process", TrialSettings(), lambda execution: InProcessExecutor(), 0, 2)


def write_space(path: Path, num_epochs: int) -> Path:
    """The space of the smoke experiment with eight trials, all of one structure, so that they train together."""
    space = yaml.safe_load((PROJECT / "search_spaces" / "smoke.yaml").read_text())
    del space["parameters"]["adaptor.depth"]
    space |= {"fixed": {"training.epochs": num_epochs}, "budget": {"num_trials": NUM_TRIALS}}
    write_json(path, space)  # JSON is YAML
    return path


def rows_of(server: MlflowServer, run_id: str) -> dict[str, list[tuple[int, str]]]:
    """What the database itself holds of a run's metrics: (step, value) of every row, by name."""
    found = dict[str, list[tuple[int, str]]]()
    engine = sqlalchemy.create_engine(
        server.database.uri("mlflow"), connect_args={"password": server.database.environment["PGPASSWORD"]}
    )
    with engine.connect() as connection:
        asked = sqlalchemy.text("select key, step, value, is_nan from metrics where run_uuid = :run order by step")
        for key, step, value, is_nan in connection.execute(asked, {"run": run_id}):
            found.setdefault(key, []).append((step, "nan" if is_nan else repr(value)))
    engine.dispose()
    return found


def prove_that_nothing_is_lost(server: MlflowServer, tmp_path: Path, way: Way) -> None:
    """Run the line with a sweep, kill the server and start it again, and count every row of the database."""
    url, name = server.settings.url, f"killed_{way.engine}"
    execution = Execution(
        name="test", engine=way.engine, storage_root=str(tmp_path / "runs"), trials=way.trials,
        cluster=ClusterSettings(num_cpus=2), tracking=TrackingSettings(uri=url),
    )  # fmt: skip
    space = write_space(tmp_path / "space.yaml", way.num_epochs)
    experiment = load_experiment(SMOKE, [f"name={name}", f"training.epochs={NUM_ARM_EPOCHS}", f"sweep.space={space}"])
    context = Context(experiment, execution, NullTracker(), Feedback(quiet=True), lambda: way.open_executor(execution))
    folder, ended_before = context.folder / "sweeps" / "smoke", list[str]()

    def disturb() -> None:
        wait_for_runs(url, name, AT_WORK, max(1, way.at_once))
        ended_before.extend(path.name for path in (folder / ENDED).glob("*.json"))
        server.stop_serving(kill=True)
        time.sleep(2)
        server.serve()

    disturber = threading.Thread(target=disturb, daemon=True)
    disturber.start()
    with tracked(context) as context:
        line.run(context, "train")
        disturber.join()
        wait_for_runs(url, name, "attributes.status = 'FINISHED'", NUM_TRIALS + 3)  # two arms and the sweep
    assert len(ended_before) <= NUM_TRIALS - way.at_once, "as many trials were at work as were to be"
    client = open_client(url)
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    runs = {run.data.tags[RUN_KEY_TAG]: run for run in found}
    trials = SweepFolder(folder).ended()
    sweep, arms = f"{name}/sweep/smoke", ("baseline", "distilled")
    keys = [f"{name}/arm/{arm}" for arm in arms] + [f"{sweep}/trial/{number:04d}" for number in trials]
    assert {key: run.info.status for key, run in runs.items()} == dict.fromkeys((name, sweep, *keys), "FINISHED")
    assert len(found) == len(runs), "no run is there twice"
    histories = [read_json(context.folder / "arms" / arm / "history.json") for arm in arms]
    histories += [list(trial.history) for trial in trials.values()]
    assert [len(history) for history in histories] == [NUM_ARM_EPOCHS] * 2 + [way.num_epochs] * NUM_TRIALS
    for key, history in zip(keys, histories, strict=True):
        rows = rows_of(server, runs[key].info.run_id)
        for metric in {metric for row in history for metric in row} - {"epoch"}:
            wanted = [(int(row["epoch"]), repr(row[metric])) for row in history if metric in row]
            assert rows[metric] == wanted, f"{metric} of {key}"
        assert all(len(values) == len(dict(values)) for values in rows.values()), "no value is there twice"
    for number, trial in trials.items():
        run = runs[f"{sweep}/trial/{number:04d}"]
        assert run.data.tags["mlflow.parentRunId"] == runs[sweep].info.run_id
        assert run.data.metrics["objective"] == trial.metrics["select/all"]


@pytest.mark.usefixtures("credentials")
def test_a_sweep_and_its_arms_lose_nothing_to_a_server_that_is_killed_while_they_run(
    server: MlflowServer, tmp_path: Path
) -> None:
    prove_that_nothing_is_lost(server, tmp_path, ONE_BY_ONE)
