"""The doctor: each thing that is wrong is found and has a remedy; what is right is left as it was."""

import os
import shutil
import socket
import sqlite3
import urllib.request
from pathlib import Path

import pyarrow.fs as pafs
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


def look_at_stores(uri: str, tmp_path: Path) -> doctor.Finding:
    execution = Execution(name="here", engine="in_process", storage_root=uri, scratch=str(tmp_path / "scratch"))
    (finding,) = doctor.examine([("stores", lambda: doctor.stores(execution))])
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in finding.told + finding.remedy
    return finding


def ask_for_keys(server: str, *, known: bool) -> None:
    """Let moto refuse keys that no account of it has, or take all keys again."""
    allowed = "inf" if known else "0"  # requests without a look at the keys
    request = urllib.request.Request(
        f"http://{server}/moto-api/reset-auth", allowed.encode(), {"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).close()


def test_a_bucket_is_written_read_and_left_as_it_was(s3_uri: str, tmp_path: Path) -> None:
    finding = look_at_stores(s3_uri, tmp_path)
    assert (finding.level, finding.remedy) == ("ok", "")
    assert finding.told.startswith("s3://bucket-")
    assert "write, read, remove" in finding.told
    filesystem, path = pafs.FileSystem.from_uri(s3_uri)
    bucket = pafs.FileSelector(path.partition("/")[0], recursive=True)
    assert [one.path for one in filesystem.get_file_info(bucket) if one.is_file] == []


def test_credentials_that_are_looked_for_in_vain_are_told(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of AWS nobody answers who hands out roles; here it is a port that takes and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        execution = Execution(name="here", engine="in_process", storage_root=s3_uri, scratch=str(tmp_path / "scratch"))
        slow, sound = doctor.examine([("stores", lambda: doctor.stores(execution))])
    assert (slow.level, sound.level) == ("warning", "ok")
    assert "AWS_EC2_METADATA_DISABLED" in slow.remedy


def test_a_bucket_that_is_missing_is_to_be_made(s3_uri: str, tmp_path: Path) -> None:
    finding = look_at_stores(s3_uri.replace("s3://bucket-", "s3://no-bucket-"), tmp_path)
    assert finding.level == "problem"
    assert "NO_SUCH_BUCKET" in finding.told
    assert "make the bucket" in finding.remedy


def test_keys_that_the_object_store_does_not_know_are_to_be_checked(
    s3_server: str, s3_uri: str, tmp_path: Path
) -> None:
    ask_for_keys(s3_server, known=False)
    try:
        finding = look_at_stores(s3_uri, tmp_path)
    finally:
        ask_for_keys(s3_server, known=True)
    assert finding.level == "problem"
    assert "INVALID_ACCESS_KEY_ID" in finding.told
    assert "AWS_ACCESS_KEY_ID" in finding.remedy
    assert look_at_stores(s3_uri, tmp_path).level == "ok"


def test_an_object_store_that_does_not_answer_has_its_address_to_be_checked(
    s3_server: str, s3_uri: str, tmp_path: Path
) -> None:
    finding = look_at_stores(s3_uri.replace(s3_server, "127.0.0.1:9"), tmp_path)
    assert finding.level == "problem"
    assert "NETWORK_CONNECTION" in finding.told
    assert "check the address" in finding.remedy


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
