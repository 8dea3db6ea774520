"""An MLflow store on SQLite for the tests of tracking."""

from pathlib import Path

import pytest

from orchestrator.tracking import prepare
from tests.mlflow_stores import Store


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
