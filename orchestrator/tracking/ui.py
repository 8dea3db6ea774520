"""MLflow's own UI, opened where the answer is: on this store, at this experiment, with a filter that shows its trials.

Starts MLflow's server on loopback for a SQLite store; a tracking server is only looked at. Knows nothing of sheets.
"""

import os
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.secrecy import redacted
from orchestrator.tracking.mlflow_store import artifact_root, open_client, sqlite_path
from orchestrator.tracking.server import QUIET, end_group, wait_until_it_answers

KINDS = ("trial", "arm", "sweep", "teacher", "run")
PORTS_TRIED = 20


@dataclass(frozen=True)
class View:
    """What the page shows: the runs of `filter`, the best first by `order_by`, as charts or as a table."""

    filter: str
    order_by: str
    charts: bool = True

    def address(self, server: str, experiment_id: str) -> str:
        """The page's address; MLflow keeps filter, order and mode in it."""
        query = {
            "searchFilter": self.filter,
            "orderByKey": self.order_by,
            "orderByAsc": "false",
            "startTime": "ALL",
            "compareRunsMode": "CHART" if self.charts else "TABLE",
        }
        words = urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{words}"


def view_of(kind: str | None, sweep: str | None, more: str, *, has_trials: bool, charts: bool) -> View:
    """The view of one kind of run (None: trials where there are some, else arms)."""
    kind = kind or ("trial" if has_trials or sweep else "arm")
    parts = [f"tags.kind = '{kind}'", *([f"tags.sweep = '{sweep}'"] if sweep else []), *([more] if more else [])]
    order = "metrics.`objective`" if kind == "trial" else "metrics.`report/few`"
    return View(" AND ".join(parts), order, charts)


def find_experiment(uri: str, name: str | None) -> tuple[str, str, bool]:
    """(id, name, whether it has trials) of the named experiment, else of the one that was used last.

    Raises:
        ConfigError: the store or the experiment is not there.
    """
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise ConfigError(
            f"{database} is not there", expected="the MLflow store of a storage root",
            remedy="run an experiment first, or say where with --set storage_root=FOLDER",
        )  # fmt: skip
    client = open_client(uri)
    known = {one.name: one for one in client.search_experiments()}
    if name is None:
        used = sorted((one for one in known.values() if one.name != "Default"), key=lambda one: one.last_update_time)
        if not used:
            raise ConfigError(f"{redacted(uri)} holds no experiment yet", remedy="run one first")
        name = used[-1].name
    if name not in known:
        others = ", ".join(sorted(set(known) - {"Default"})) or "none"
        raise ConfigError(f"no experiment {name} in {redacted(uri)}", expected=f"one of: {others}")
    found = str(known[name].experiment_id)
    trials = client.search_runs([found], "tags.kind = 'trial'", max_results=1)
    return found, name, bool(trials)


@contextmanager
def served(uri: str, host: str, port: int) -> Iterator[str]:
    """The address of a server that shows the store at `uri`: a tracking server's own, or MLflow's UI started here."""
    if not uri.startswith("sqlite:"):
        yield redacted(uri)
        return
    port = _free_port(host, port)
    url = f"http://{host}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
               "--backend-store-uri", uri, "--default-artifact-root", str(artifact_root(uri))]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        command, env={**kept, **QUIET}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True, cwd=Path(uri.removeprefix("sqlite:///")).parent,
    )  # fmt: skip
    try:
        wait_until_it_answers(url, process, None)
        yield url
    finally:
        end_group(process)


def _free_port(host: str, first: int) -> int:
    for port in range(first, first + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ConfigError(f"no free port from {first} to {first + PORTS_TRIED - 1}", remedy="choose one with --port")
