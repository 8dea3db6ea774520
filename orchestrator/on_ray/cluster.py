"""Joining or starting a Ray cluster, with tokens on and in a folder of its own; and checking that a plan fits it.

Starts and stops Ray in this process. Knows nothing of stages.
"""

import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from orchestrator.config.execution import ClusterSettings
from orchestrator.errors import ConfigError

OBJECT_STORE_MIB = 512  # of a local cluster: tables of addresses and receipts are small


class Cluster:
    """A connection to Ray for one command; closes what it started and nothing else."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._temporary: str | None = None
        self._grows_to = settings.grows_to
        address = settings.address
        if address == "local" and os.environ.get("RAY_ADDRESS"):
            address = "auto"  # inside `ray job submit` the cluster is the one that runs the job
        _quiet()
        with _our_sigterm():
            if address == "local":
                self._start_local(settings)
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)

    def _start_local(self, settings: ClusterSettings) -> None:
        # Ray's sockets live below this folder and a socket's path may have 107 bytes at most, so it must be short.
        self._temporary = tempfile.mkdtemp(prefix="orc-", dir=tempfile.gettempdir())
        ray.init(
            address="local",
            num_cpus=settings.num_cpus,
            num_gpus=settings.num_gpus,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=0,
            object_store_memory=(settings.object_store_mib or OBJECT_STORE_MIB) * 2**20,
            _temp_dir=self._temporary,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )

    @property
    def is_own(self) -> bool:
        """Whether this command started the cluster."""
        return self._temporary is not None

    def require(self, what: str, *, num_cpus: float, num_gpus: float) -> None:
        """Refuse a plan that can never be placed, with the arithmetic.

        Raises:
            ConfigError: the cluster has fewer CPUs or GPUs than the plan needs at once.
        """
        total, has = self._total(), "may grow to" if self._grows_to else "has"
        for name, needed in (("CPU", num_cpus), ("GPU", num_gpus)):
            if needed > total.get(name, 0.0) + 1e-9:
                raise ConfigError(
                    f"{what} needs {needed:g} {name}s at once, the cluster {has} {total.get(name, 0.0):g}",
                    expected=f"at most {total.get(name, 0.0):g}",
                    remedy="lower the numbers in the execution sheet, or use a larger cluster (one that starts nodes "
                    "when work waits says so in cluster.grows_to)",
                )

    def _total(self) -> dict[str, float]:
        """CPUs and GPUs that there are, or may come to be."""
        there: dict[str, float] = ray.cluster_resources()
        grown = {
            "CPU": sum(kind.num_nodes * kind.num_cpus for kind in self._grows_to),
            "GPU": sum(kind.num_nodes * kind.num_gpus for kind in self._grows_to),
        }
        return {name: max(there.get(name, 0.0), grown[name]) for name in grown}

    def shown(self, *, num_cpus: float, num_gpus: float) -> str:
        """What a plan takes of what there is, in words."""
        total = self._total()
        return (
            f"{num_cpus:g} of {total.get('CPU', 0.0):g} CPUs and {num_gpus:g} of {total.get('GPU', 0.0):g} GPUs of the "
            "cluster"
        )

    def require_on_a_node(self, what: str, *, num_cpus: float, num_gpus: float) -> None:
        """Refuse a process that fits on no single node.

        Raises:
            ConfigError: no node has that many CPUs and GPUs.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes += [{"CPU": kind.num_cpus, "GPU": kind.num_gpus} for kind in self._grows_to]
        if any(n.get("CPU", 0.0) + 1e-9 >= num_cpus and n.get("GPU", 0.0) + 1e-9 >= num_gpus for n in nodes):
            return
        largest = ", ".join(sorted({f"{n.get('CPU', 0.0):g} CPUs and {n.get('GPU', 0.0):g} GPUs" for n in nodes}))
        raise ConfigError(
            f"{what} needs {num_cpus:g} CPUs and {num_gpus:g} GPUs on one node, the nodes have {largest}",
            expected="a node that holds it whole",
            remedy="lower the numbers in the execution sheet, or use larger nodes",
        )

    def close(self) -> None:
        """Leave the cluster; a local one ends with it and its folder is removed."""
        ray.shutdown()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


@contextmanager
def _our_sigterm() -> Iterator[None]:
    """Ray takes the driver's handler of SIGTERM for one that prints its own stack and aborts; this gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _quiet() -> None:
    """One line per event is ours; Ray's own chatter goes to its log files."""
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    project = str(Path(__file__).resolve().parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if project not in paths:  # workers must find this package also when it is run from a checkout
        os.environ["PYTHONPATH"] = os.pathsep.join([project, *filter(None, paths)])
    for name in ("ray", "ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\..*")
