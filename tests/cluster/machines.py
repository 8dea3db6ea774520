"""The head, the workers and the desk of the three-hosts suite, and what is done at the desk.

Starts and ends machines, and runs `ray` and `orchestrator` on one of them. Knows nothing of what is lost.
"""

import contextlib
import json
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from orchestrator.config.execution import Execution
from tests.cluster import line
from tests.cluster.hosts import USER, Host, Network, ObjectStore, make_key, remove_all
from tests.cluster.line import NUM_CPUS_PER_NODE, Storage
from tests.cluster.raylets import make_checkout

CHECKOUT, SHARED, SCRATCH = f"/home/{USER}/vlm-distill", "/mnt/shared", f"/home/{USER}/scratch"
SHEET = "clusters/on_premise.yaml"
IDLE_MINUTES = 0.5  # after which a scaled cluster gives a worker back
TRIES = 4  # of `ray up`: a node gets 30 seconds from Ray to come up, which a busy machine may not manage
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

    def __init__(self, folder: Path, bucket: ObjectStore | None, *, scaled: bool = False) -> None:
        self._bucket, shared = bucket, folder / "shared" if bucket is None else None
        (shared or folder).mkdir(parents=True, exist_ok=True)
        key = folder / "desk" / "home" / ".ssh" / "id_ed25519"
        public = make_key(key)
        self.folder = folder
        self.head, self.desk, *self.workers = (
            Host(name, number, folder / name, shared, public)
            for name, number in (("head", 10), ("desk", 20), ("worker1", 11), ("worker2", 12))
        )
        for host in self.all:
            if bucket is not None:
                bucket.give_credentials(host.home)
            link = host.home / "vlm-distill-env"
            link.unlink(missing_ok=True)
            link.symlink_to(line.PROJECT / ".venv")
        make_checkout(self.desk.home / "vlm-distill")
        (self.desk.home / "vlm-distill" / SHEET).parent.mkdir(exist_ok=True)
        (self.desk.home / "vlm-distill" / SHEET).write_text(
            cluster_file(self.head, self.workers, shares=bucket is None, scaled=scaled)
        )
        token = self.desk.home / ".ray" / "auth_token"
        token.parent.mkdir(exist_ok=True)
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32))
        self.num_at_first = 2 if scaled else 1 + len(self.workers)
        self._tunnel: subprocess.Popen[bytes] | None = None

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
        return [self.head, self.desk, *self.workers]

    def at_desk(self, command: str) -> subprocess.Popen[bytes]:
        """A command in the desk's checkout, its output in a log."""
        with (self.folder / "desk.log").open("ab") as log:
            log.write(f"\n$ {command}\n".encode())
            log.flush()
            whole = self.desk.command(f"{ENVIRONMENT}; cd {CHECKOUT} && exec {command}")
            return subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def desk_does(self, command: str) -> None:
        """A command at the desk that must end well."""
        if code := self.at_desk(command).wait():
            raise SystemExit(f"at the desk, {command} ended with {code}; see {self.folder}/desk.log")

    def up(self) -> float:
        """`ray up`, the tunnel to the dashboard, and patience until the first nodes are there; returns the seconds."""
        begun = time.monotonic()
        for _ in range(TRIES):
            if self.at_desk(f"ray up -y --no-config-cache {SHEET}").wait() == 0:
                break
        else:
            raise SystemExit(f"ray up failed {TRIES} times; see {self.folder}/desk.log")
        self.close_tunnel()
        self._tunnel = self.at_desk(f"ray dashboard {SHEET}")
        self.until(lambda: self.nodes() == self.num_at_first, f"{self.num_at_first} nodes are there")
        return time.monotonic() - begun

    def close_tunnel(self) -> None:
        """End `ray dashboard`; what it runs on the head ends with its connection."""
        if self._tunnel is not None:
            close_terminal(self._tunnel)
            self._tunnel = None

    def nodes(self) -> int:
        """How many nodes the dashboard calls alive; 0 where it does not answer."""
        ask = (
            "import json, os, urllib.request as r; t = open(os.path.expanduser('~/.ray/auth_token')).read();"
            "q = r.Request('http://127.0.0.1:8265/nodes?view=summary', headers={'Authorization': 'Bearer ' + t});"
            "print(sum(n['raylet'].get('state') == 'ALIVE' for n in json.load(r.urlopen(q))['data']['summary']))"
        )
        done = self.desk.run(f"python3 -c {shlex.quote(ask)}")
        return int(done.stdout) if done.returncode == 0 else 0

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait."""
        until = time.monotonic() + line.PATIENCE_S
        while not holds():
            if time.monotonic() > until:
                raise SystemExit(f"it never came to be that {what}; see {self.folder}")
            time.sleep(5)

    def submit(self, job: str, root: str, settings: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
        """`orchestrator submit` at the desk, followed to the job's end."""
        more = {} if self._bucket is None else {"scratch": SCRATCH}
        given = line.arguments(self._root(root), "jobs/executions/on_premise.yaml", {**more, **(settings or {})})
        return self.at_desk(shlex.join(["orchestrator", "submit", "--wait-s", "120", job, *given]))

    def last_line(self) -> dict[str, Any]:
        """What the newest `orchestrator submit` told scripts."""
        lines = (self.folder / "desk.log").read_text(errors="replace").splitlines()
        found: dict[str, Any] = json.loads(
            next(told for told in reversed(lines) if told.startswith('{"submission_id"'))
        )
        return found


def close_terminal(command: subprocess.Popen[bytes]) -> None:
    """End all processes of a command at the desk; they are its children, and not those of the desk's first process."""
    for process in psutil.Process(command.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    command.wait()


@contextmanager
def machines(folder: Path, *, in_bucket: bool, scaled: bool = False) -> Iterator[Machines]:
    """The machines with power, taken away with the block."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with Network(), ObjectStore() if in_bucket else contextlib.nullcontext() as bucket:
        made = Machines(folder, bucket, scaled=scaled)
        try:
            for host in made.all:
                host.start()
            yield made
        finally:
            remove_all(made.all)
