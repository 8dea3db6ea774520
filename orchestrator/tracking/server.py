"""An MLflow tracking server of one's own: PostgreSQL behind it, artifacts beside it, a password before it.

Writes one folder (`postgres/`, `artifacts/`, `secrets/`, `auth.ini`, logs). Starts processes and ends them. No secret
stands on a command line or is printed. Knows nothing of experiments.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import ConfigError
from orchestrator.tracking.postgres import Postgres
from orchestrator.tracking.secret_files import secret

DATABASES = ("mlflow", "mlflow_auth")
ADMIN = "admin"
ADMIN_PASSWORD_VARIABLE = "MLFLOW_AUTH_ADMIN_PASSWORD"  # pragma: allowlist secret
START_S = 900.0  # it ends sooner where the process ends; a machine at its limit takes minutes to import MLflow
PROBE_S = 60.0  # clients that waited for a server that comes back are answered first
LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job runner is for language-model judges, four processes more
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class ServerSettings:
    """Where and for whom.

    Attributes:
        folder: everything that is kept.
        host: the address to listen at.
        allowed_hosts: names under which browsers and clients may ask (`mlflow.example.org:5000`), besides loopback.
        workers: processes that answer.
        password_file: holds the administrator's password; None: the environment, else one is drawn into the folder.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 5000
    allowed_hosts: tuple[str, ...] = ()
    workers: int = 2
    password_file: Path | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    @property
    def admin_file(self) -> Path:
        """Where the administrator's password lies when it came from no environment."""
        return self.password_file or Path(self.folder).resolve() / "secrets" / "admin_password"

    def all_hosts(self) -> str:
        """The Host headers that are answered: loopback, the address itself, and those that were named."""
        names = [*LOOPBACK[:2], self.host, *self.allowed_hosts]
        told = [name if ":" in name else f"{name}:{self.port}" for name in names]
        return ",".join(dict.fromkeys(told))


def admin_password(settings: ServerSettings) -> str:
    """From the environment, else from the file, which is drawn where it is missing.

    Raises:
        ConfigError: MLflow takes none of fewer than 12 characters.
    """
    found = os.environ.get(ADMIN_PASSWORD_VARIABLE) if settings.password_file is None else None
    if not found:
        found = secret(settings.admin_file)
    if len(found) < 12:
        raise ConfigError("the administrator's password is too short", expected="at least 12 characters")
    return found


def admin_password_from(settings: ServerSettings) -> str:
    """Where the administrator's password would come from, in words."""
    if settings.password_file is None and os.environ.get(ADMIN_PASSWORD_VARIABLE):
        return f"the password is that of {ADMIN_PASSWORD_VARIABLE}"
    return f"the password {'is' if settings.admin_file.is_file() else 'would be drawn into'} {settings.admin_file}"


class MlflowServer:
    """The server with its database, as a context manager; `stop_serving` and `serve` end and begin the MLflow part."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings, self.folder = settings, Path(settings.folder).resolve()
        self.database = Postgres(self.folder, DATABASES)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.settings.host, self.settings.port))
            except OSError as error:
                raise ConfigError(
                    f"cannot listen at {self.settings.url}: {error.strerror}", remedy="choose another --port"
                ) from error
        self.database.start()
        try:
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_serving()
        self.database.stop()

    def serve(self) -> None:
        """Start MLflow and wait until it answers.

        Raises:
            ConfigError: it ends or stays silent; its log is named.
        """
        settings = self.settings
        command = [sys.executable, "-m", "mlflow", "server", "--host", settings.host, "--port", str(settings.port),
                   "--workers", str(settings.workers), "--app-name", "basic-auth", "--serve-artifacts",
                   "--artifacts-destination", str(self.folder / "artifacts"),
                   "--allowed-hosts", settings.all_hosts()]  # fmt: skip
        log = self.folder / "mlflow.log"
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                command, env=self._environment(), stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        wait_until_it_answers(settings.url, self.process, log)

    def stop_serving(self, *, kill: bool = False) -> None:
        """End MLflow's processes, in order or at once."""
        if self.process is not None:
            end_group(self.process, kill=kill)
            self.process = None

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        auth = self.folder / "auth.ini"
        auth.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = {self.database.uri(DATABASES[1])}\nadmin_username = {ADMIN}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"  # each request would compute PBKDF2 again
        )
        return {
            **kept,
            **QUIET,
            **self.database.environment,
            "MLFLOW_BACKEND_STORE_URI": self.database.uri(DATABASES[0]),
            "MLFLOW_AUTH_CONFIG_PATH": str(auth),
            ADMIN_PASSWORD_VARIABLE: admin_password(self.settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(self.folder / "secrets" / "session_key"),
        }


def wait_until_it_answers(url: str, process: "subprocess.Popen[bytes]", log: Path | None) -> None:
    """Until `/health` answers; an answer that asks for a password is one.

    Raises:
        ConfigError: the process ended, or said nothing in time.
    """
    deadline = time.monotonic() + START_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with direct.open(f"{url}/health", timeout=PROBE_S):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() if log is not None else []
                raise ConfigError(
                    f"the MLflow server does not start: {' / '.join(lines[-2:])[:300]}",
                    remedy=f"see {log}" if log is not None else "",
                ) from None
            time.sleep(0.2)


def end_group(process: "subprocess.Popen[bytes]", *, kill: bool = False) -> None:
    """End a process that leads a group, and the group."""
    for number in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
