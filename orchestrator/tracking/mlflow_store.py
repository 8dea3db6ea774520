"""The MLflow store itself: where it lies, how it is opened quietly, and how its schema is made once.

Reads and writes a SQLite file, or contacts a server. Knows nothing of runs and events. Imports mlflow inside functions.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PASSWORD_FILE_VARIABLE = "MLFLOW_TRACKING_PASSWORD_FILE"  # pragma: allowlist secret
_QUIET_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the shipper has its own patience; MLflow's would block for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # a busy server is slow, and what was given up is carried out all the same
}


def sqlite_path(uri: str) -> Path | None:
    """The file behind `sqlite:///...`; None for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def artifact_root(uri: str) -> Path | None:
    """Where artifacts lie: beside the SQLite file; None when a server decides."""
    database = sqlite_path(uri)
    return None if database is None else database.parent / "mlartifacts"


def open_client(uri: str) -> "MlflowClient":
    """A quiet client: no telemetry, no migration log, no long retries. What the environment sets already wins.

    A server's user and password are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the file that
    MLFLOW_TRACKING_PASSWORD_FILE names.
    """
    file = os.environ.get(PASSWORD_FILE_VARIABLE)
    if file and not os.environ.get("MLFLOW_TRACKING_PASSWORD") and not sqlite_path(uri):
        os.environ["MLFLOW_TRACKING_PASSWORD"] = Path(file).read_text().strip()
    for name, value in _QUIET_DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "mlflow.store.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def prepare(uri: str) -> None:
    """Create the schema of a SQLite store once, under a file lock: processes that meet a new file together crash in the
    migration ("duplicate column name"). Does nothing for a server, nor for a file that is there: it was renamed into
    place whole, and opening it under the lock would let eight commands begin only one after another."""
    database = sqlite_path(uri)
    if database is None or database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with _locked(database.with_name(f".{database.name}.lock")):
        if not database.exists():
            _create(database)


def _create(database: Path) -> None:
    """Migrate under another name, then rename: a half-made schema, left by a kill, could never be opened again."""
    unfinished = database.with_name(f".{database.name}.unfinished")
    for leftover in unfinished.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    open_client(f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.replace(database)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
