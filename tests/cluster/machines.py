"""The head, the workers and the desk of the three-hosts suite.

Starts and ends machines. Knows nothing of what is lost.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config.execution import Execution
from tests.cluster import line
from tests.cluster.desk import Desk
from tests.cluster.hosts import USER, Aws, Host, Network, make_key, remove_all
from tests.cluster.line import NUM_CPUS_PER_NODE, Storage

SHARED, SCRATCH = "/mnt/shared", f"/home/{USER}/scratch"
SHEET, EXECUTION = "clusters/on_premise.yaml", "jobs/executions/on_premise.yaml"
IDLE_MINUTES = 0.5  # after which a scaled cluster gives a worker back
ENVIRONMENT = f"export PATH=/home/{USER}/vlm-distill-env/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"


def cluster_file(head: Host, workers: list[Host], *, shares: bool, scaled: bool) -> str:
    """Our on-premise file with the addresses and numbers of these machines.

    Args:
        shares: they share a folder, whose mount the file looks for.
        scaled: one worker, more with work.
    """
    tree: dict[str, Any] = yaml.safe_load((line.PROJECT / SHEET).read_text())
    tree["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address for worker in workers]}
    numbers = f"--num-cpus={NUM_CPUS_PER_NODE} --num-gpus=0 --object-store-memory=150000000"
    (stop, start) = tree["worker_start_ray_commands"]
    assert "--num-cpus=64 --num-gpus=8" in start
    tree["worker_start_ray_commands"] = [stop, start.replace("--num-cpus=64 --num-gpus=8", numbers)]
    setup = tree["setup_commands"]
    tree["setup_commands"] = [command for command in setup if " pip install " not in command]
    assert len(tree["setup_commands"]) == len(setup) - 1
    if not shares:
        tree["initialization_commands"] = []
    if scaled:
        tree |= {"min_workers": 1, "idle_timeout_minutes": IDLE_MINUTES}
    return yaml.safe_dump(tree, sort_keys=False)


class Machines:
    """A head, two workers and a desk, from which people work.

    Args:
        bucket: of which storage roots are folders; None: they lie in a folder that all machines share.
    """

    def __init__(self, folder: Path, network: Network, bucket: Aws | None, *, scaled: bool = False) -> None:
        self._bucket, shared = bucket, folder / "shared" if bucket is None else None
        (shared or folder).mkdir(parents=True, exist_ok=True)
        key = folder / "desk" / "home" / ".ssh" / "id_ed25519"
        public = make_key(key)
        self.folder = folder
        self.head, desk, *self.workers = (
            Host(name, network, f"10.213.7.{number}", folder / name, shared, public)
            for name, number in (("head", 10), ("desk", 20), ("worker1", 11), ("worker2", 12))
        )
        for host in (self.head, desk, *self.workers):
            if bucket is not None:
                bucket.give_credentials(host.home)
            link = host.home / "vlm-distill-env"
            link.unlink(missing_ok=True)
            link.symlink_to(line.PROJECT / ".venv")
        sheet = cluster_file(self.head, self.workers, shares=bucket is None, scaled=scaled)
        self.desk = Desk(desk, SHEET, sheet, ENVIRONMENT, 2 if scaled else 1 + len(self.workers))

    def _root(self, name: str) -> str:
        return f"{SHARED}/{name}" if self._bucket is None else self._bucket.uri(name)

    def storage(self, name: str) -> Storage:
        """Where the results of a storage root lie, for us here."""
        if self._bucket is None:
            return Storage.of_folder(self.folder / "shared" / name)
        execution = Execution(name="", storage_root=self._root(name), scratch=SCRATCH)
        return Storage(self.head.home / "scratch" / execution.work_folder.name, execution.stores.uri)

    def fresh(self, name: str) -> str:
        """An empty storage root."""
        line.fresh(self.storage(name).work)
        return name

    def forget(self, name: str) -> None:
        """Lose what the head's disk has of a storage root that lies in a bucket."""
        if self._bucket is not None:
            shutil.rmtree(self.storage(name).work)

    @property
    def all(self) -> list[Host]:
        """Every machine."""
        return [self.head, self.desk.host, *self.workers]

    def submit(self, job: str, root: str, settings: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
        """`orchestrator submit` at the desk, followed to the job's end."""
        more = {} if self._bucket is None else {"scratch": SCRATCH}
        return self.desk.submit(job, self._root(root), EXECUTION, {**more, **(settings or {})})


@contextmanager
def machines(folder: Path, *, in_bucket: bool, scaled: bool = False) -> Iterator[Machines]:
    """The machines with power, taken away with the block."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with Network() as network, Aws(network) if in_bucket else contextlib.nullcontext() as bucket:
        made = Machines(folder, network, bucket, scaled=scaled)
        try:
            for host in made.all:
                host.start()
            yield made
        finally:
            remove_all(made.all)
