"""The doctor: each thing that is wrong is found and has a remedy; what is right is left as it was."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from orchestrator.config.execution import ClusterSettings, Execution
from orchestrator.errors import ConfigError
from orchestrator.stages import doctor
from orchestrator.tracking import TrackingSettings, prepare


def in_process(root: Path, **settings: object) -> Execution:
    return Execution.model_validate({"name": "here", "engine": "in_process", "storage_root": str(root), **settings})


def test_a_sound_place_has_no_problem_and_is_left_as_it_was(tmp_path: Path, project: Path) -> None:
    root = tmp_path / "runs"
    found = list(doctor.examine(doctor.checks(in_process(root, store_root=str(tmp_path)), project)))
    assert [finding for finding in found if finding.level == "problem"] == []
    assert {finding.area for finding in found} == {"python", "packages", "storage", "stores", "devices", "mlflow"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not root.exists()


def test_a_place_that_cannot_be_written_is_a_problem_that_names_the_setting(tmp_path: Path, project: Path) -> None:
    (tmp_path / "a_file").touch()
    found = doctor.examine(doctor.checks(in_process(tmp_path / "a_file" / "runs"), project))
    (problem,) = [finding for finding in found if finding.level == "problem" and finding.area == "storage"]
    assert "a_file" in problem.told
    assert "storage_root" in problem.remedy


def test_another_version_than_the_pinned_one_is_named(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("pyarrow==0.0.1\nno-such-package==2.0\n")
    (finding,) = doctor.packages(constraints)
    assert finding.level == "warning"
    assert "pinned 0.0.1" in finding.told
    assert "no-such-package missing, pinned 2.0" in finding.told
    assert "constraints.txt" in finding.remedy


def test_a_tracking_store_of_another_mlflow_is_to_be_upgraded(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    made, old = tmp_path / "mlflow.db", tmp_path / "old" / "mlflow.db"
    prepare(f"sqlite:///{made}")
    assert [finding.level for finding in doctor.mlflow(in_process(tmp_path))] == ["ok"]
    shutil.copy(made, old)
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    (finding,) = doctor.mlflow(in_process(tmp_path / "old"))
    assert finding.level == "problem"
    assert "mlflow db upgrade" in finding.remedy


def test_a_tracking_server_that_does_not_answer_is_a_problem_without_its_password() -> None:
    tracking = TrackingSettings(uri="http://me:hunter2@127.0.0.1:9")
    execution = Execution(name="here", engine="in_process", tracking=tracking)
    (finding,) = doctor.mlflow(execution)
    assert finding.level == "problem"
    assert "does not answer" in finding.told
    assert "hunter2" not in finding.told + finding.remedy


def test_more_object_store_than_shared_memory_is_a_problem() -> None:
    cluster = ClusterSettings(object_store_mib=10**9)
    assert [finding.level for finding in doctor.memory(Execution(name="big", cluster=cluster))] == ["problem"]


def test_a_check_that_fails_is_a_finding_with_the_errors_own_remedy() -> None:
    def failing() -> doctor.Iterator[doctor.Finding]:
        raise ConfigError("it is broken", remedy="mend it")
        yield

    (finding,) = doctor.examine([("thing", failing)])
    assert (finding.area, finding.level, finding.remedy) == ("thing", "problem", "mend it")
    assert "it is broken" in finding.told


@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_gpus_that_are_asked_for_on_this_machine_must_be_here(gpus: float) -> None:
    import torch

    execution = Execution.model_validate({"name": "here", "training": {"num_gpus_per_worker": gpus}})
    (finding,) = doctor.devices(execution)
    assert (finding.level == "problem") == (gpus > 0 and not torch.cuda.is_available())
