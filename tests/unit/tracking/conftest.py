"""An MLflow store on SQLite, and our own tracking server on PostgreSQL, for the tests of tracking."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.tracking import prepare
from orchestrator.tracking.postgres import find_binaries
from orchestrator.tracking.server import ADMIN, MlflowServer, ServerSettings
from tests.mlflow_stores import PASSWORD, Store


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated database for all tests (the migration takes seconds); each test uses an experiment of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    prepare(f"sqlite:///{folder / 'mlflow.db'}")
    return folder


@pytest.fixture
def store(database: Path, tmp_path: Path) -> Store:
    """The shared database with a spool of the test's own."""
    made = Store(database)
    made.spool_dir = tmp_path / "spool"
    return made


@pytest.fixture(scope="session")
def server() -> Iterator[MlflowServer]:
    """Our own tracking server, as `make mlflow-server` starts it; each test uses an experiment of its own."""
    try:
        find_binaries()
    except ConfigError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="mlflow-server-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the account that PostgreSQL runs as must get in where the tests are root's
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
            patch.setenv("NO_PROXY", "127.0.0.1")
            with MlflowServer(ServerSettings(folder, port=port, workers=1)) as made:
                yield made


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine that reports is given: a user, and a file with the password."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(file))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")  # filled from the file, and taken away after the test
