"""A PostgreSQL of our own for MLflow: its data in one folder, reached through a socket file alone, no network port.

Writes the folder; starts the `postgres` that is installed. Knows nothing of MLflow.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import ConfigError
from orchestrator.tracking.secret_files import secret

ROLE = "mlflow"
PASSWORD_VARIABLE = "PGPASSWORD"  # pragma: allowlist secret
START_S = 60.0
_DEBIAN = "/usr/lib/postgresql"


def find_binaries() -> Path:
    """The folder of `initdb` and `postgres`: on PATH, else Debian's newest.

    Raises:
        ConfigError: there is none.
    """
    found = shutil.which("initdb")
    if found is not None and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    for folder in sorted(Path(_DEBIAN).glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return folder
    raise ConfigError(
        "PostgreSQL is not installed", expected="initdb and postgres on PATH", remedy="apt-get install postgresql"
    )


class Postgres:
    """A running server in `folder`, as a context manager; `databases` are made where they are missing.

    PostgreSQL refuses to run as root: started by root, it runs as the account `postgres` or `nobody`, which must be
    able to reach the folder.
    """

    def __init__(self, folder: Path, databases: Sequence[str]) -> None:
        self.folder, self.databases = Path(folder).resolve(), databases
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = ""
        self._account: dict[str, int] = {}
        if os.geteuid() == 0:
            account = _unprivileged()
            self._account = {"user": account.pw_uid, "group": account.pw_gid}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs besides the address; a password in the environment stands on no command line."""
        return {PASSWORD_VARIABLE: secret(self.folder / "secrets" / "postgres_password")}

    def uri(self, database: str) -> str:
        """Address of a database, for SQLAlchemy, without the password."""
        return f"postgresql+psycopg://{ROLE}@/{database}?host={self._sockets}"

    def start(self) -> None:
        """Make what is missing, start, and wait until it answers.

        Raises:
            ConfigError: it does not start; the message has the end of its log.
        """
        binaries, data = find_binaries(), self.folder / "postgres"
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.environment[PASSWORD_VARIABLE]
        self._sockets = tempfile.mkdtemp(prefix="mlflow-pg-")  # a socket's path has at most 107 characters
        self._give(Path(self._sockets))
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir(mode=0o700)
            self._give(data)
            words = Path(self._sockets) / "password"
            words.touch(mode=0o600)
            words.write_text(password)
            self._give(words)
            command = ["initdb", "--username", ROLE, "--auth", "scram-sha-256", "--pwfile", str(words), "-E", "UTF8",
                       "--locale", "C.UTF-8", "-D", str(data)]  # fmt: skip
            made = self._run([str(binaries / command[0]), *command[1:]])
            words.unlink()
            if made.returncode:
                shutil.rmtree(data, ignore_errors=True)
                raise _refused("initdb failed", made.stderr.decode(errors="replace"))
        elif (data / "postmaster.pid").exists():  # left by a killed command, or running still: stop it, then start anew
            self._run([str(binaries / "pg_ctl"), "stop", "-D", str(data), "-m", "fast", "-t", "30"])
        self._log = self.folder / "postgres.log"
        settings = ("listen_addresses=", f"unix_socket_directories={self._sockets}", "max_connections=200")
        command = [str(binaries / "postgres"), "-D", str(data), *(part for one in settings for part in ("-c", one))]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
                **self._account,  # type: ignore[call-overload]
            )  # fmt: skip
        try:
            self._make_databases(password)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it in order: its clients are sent away, everything is on disk."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT is PostgreSQL's fast shutdown
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _make_databases(self, password: str) -> None:
        import psycopg

        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            try:
                connection = psycopg.connect(
                    host=self._sockets, user=ROLE, password=password, dbname="postgres", autocommit=True
                )
                break
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    told = self._log.read_text(errors="replace") or str(error)
                    raise _refused("PostgreSQL does not start", told) from error
                time.sleep(0.1)
        with connection:
            there = {name for (name,) in connection.execute("select datname from pg_database")}
            for name in self.databases:
                if name not in there:
                    connection.execute(f'create database "{name}"'.encode())

    def _run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(command, capture_output=True, cwd="/", check=False, **self._account)  # type: ignore[call-overload]

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account["user"], self._account["group"])


def _unprivileged() -> Any:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigError("PostgreSQL refuses to run as root", remedy="run the command as an ordinary user")


def _refused(what: str, log: str) -> ConfigError:
    lines = [line for line in log.splitlines() if line.strip()]
    return ConfigError(f"{what}: {' / '.join(lines[-2:])[:300]}", expected="a folder that its account can use")
