"""`ray up cluster.yaml` on AWS as moto has it: spot nodes come for work, two are taken away, all go when it is done.

moto answers EC2, IAM and S3; each instance that it says is running is a machine made of namespaces (`hosts.py`) with
the instance's address. The file is the one that we ship, so that Ray's own AWS provider and autoscaler make its roles,
keys, security groups and instances; left out are the container (there is no engine here), `pip install`, and the mount,
because the storage root is a bucket. The job is submitted with the shipped execution, for fewer actors. What is
compared with an undisturbed run, to the last bit, are captions, stores, embeddings, shards and the sweep.

    python -m tests.cluster.cloud [--folder runs/cluster-test/cloud]     (as root)

Nothing is kept of an interrupted suite, because moto forgets. The last line is the figure.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import psutil
import yaml

from orchestrator.config.execution import Execution
from tests.cluster import line
from tests.cluster.desk import Desk
from tests.cluster.hosts import Aws, Host, Network, make_key, missing_tools
from tests.cluster.line import PHASES, Storage

SHEET, EXECUTION, USER = "cluster.yaml", "jobs/executions/cluster.yaml", "ubuntu"
SCRATCH = f"/home/{USER}/scratch"
ADDRESS, DESK, REGION = "172.31.0.1/16", "172.31.200.20", "us-west-2"  # of moto's default network
IDLE_MINUTES, LOOK_EVERY_S = 0.5, 0.5
FEWER = {
    "captioning.num_actors": 2, "captioning.num_readers": 2, "embedding.num_actors": 2, "embedding.num_readers": 2,
    "trials.num_workers": 2, "scratch": SCRATCH,
}  # fmt: skip
AS_SHIPPED = ("num_cpus_per_actor", "num_gpus_per_actor", "num_cpus_per_worker", "num_gpus_per_worker")


class Cloud:
    """Instances as moto tells them, each a machine; a context that gives power and takes it.

    Args:
        desk_home: where `ray up` leaves the key that instances let in.
    """

    def __init__(self, folder: Path, network: Network, aws: Aws, desk_home: Path) -> None:
        self.folder, self._network, self._aws, self._desk_home = folder, network, aws, desk_home
        self.hosts: dict[str, Host] = {}  # by the instance's id
        self.launched: dict[str, dict[str, Any]] = {}  # every instance that ever ran
        self._ends, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._look_for_ever, daemon=True)

    @cached_property
    def _ec2(self) -> Any:
        return boto3.client("ec2", region_name=REGION, endpoint_url=self._aws.endpoint)

    def __enter__(self) -> "Cloud":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()
        for host in self.hosts.values():
            host.remove()

    def instances(self) -> dict[str, dict[str, Any]]:
        """Those that run, by id."""
        found = self._ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
        return {one["InstanceId"]: one for told in found["Reservations"] for one in told["Instances"]}

    def workers(self, kind: str) -> dict[str, Host]:
        """Machines of one of the file's node types, by id."""
        return {
            name: self.hosts[name]
            for name, one in self.instances().items()
            if name in self.hosts and kind in [tag["Value"] for tag in one.get("Tags", [])]
        }

    def take(self, name: str) -> None:
        """A spot instance is taken away: its power, and then it is said to be ended."""
        with self._lock:
            self.hosts.pop(name).remove()
            self._ec2.terminate_instances(InstanceIds=[name])

    def _look_for_ever(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            with self._lock:
                running = self.instances()
                for name in self.hosts.keys() - running.keys():
                    self.hosts.pop(name).remove()
                for name in running.keys() - self.hosts.keys():
                    self.launched[name] = running[name]
                    self.hosts[name] = self._give_power(name, running[name]["PrivateIpAddress"])

    def _give_power(self, name: str, address: str) -> Host:
        (key,) = (self._desk_home / ".ssh").glob("ray-autoscaler*.pem")
        public = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
        short = f"i{len(self.launched)}"
        host = Host(short, self._network, address, self.folder / name, None, public, user=USER)
        prepare(host, self._aws)
        host.start()
        return host


def prepare(host: Host, aws: Aws) -> None:
    """What an image would bring: programs on the path, and where AWS is."""
    aws.give_credentials(host.home)
    with (host.home / ".bashrc").open("a") as file:
        file.write(f"export PATH={line.PROJECT}/.venv/bin:$PATH AWS_ENDPOINT_URL={aws.endpoint}\n")
        file.write("export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0\n")


def cluster_file() -> str:
    """Ours, without the container, the mount and what is installed."""
    tree: dict[str, Any] = yaml.safe_load((line.PROJECT / SHEET).read_text())
    del tree["docker"]
    tree["provider"]["use_internal_ips"] = True  # the desk is in the same network
    tree |= {"idle_timeout_minutes": IDLE_MINUTES, "initialization_commands": []}
    for part in ("setup_commands", "head_setup_commands"):
        assert all(" pip install " in command for command in tree[part])
        tree[part] = []
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, start = tree[part]
        tree[part] = [stop, f"{start} --object-store-memory=150000000"]
    return yaml.safe_dump(tree, sort_keys=False)


class Tried:
    """The cloud, the desk, and jobs on them."""

    def __init__(self, cloud: Cloud, desk: Desk, aws: Aws) -> None:
        self.cloud, self.desk, self._aws = cloud, desk, aws

    def submit(self, root: str) -> subprocess.Popen[bytes]:
        """The line up to the sweep, with the shipped execution's nodes."""
        shipped = yaml.safe_load((line.PROJECT / EXECUTION).read_text())
        parts = ("captioning", "embedding", "training", "trials")
        sizes = {
            f"{part}.{name}": shipped[part][name] for part in parts for name in AS_SHIPPED if name in shipped[part]
        }
        return self.desk.submit("sweep", self._aws.uri(root), EXECUTION, {**sizes, **FEWER})

    def storage(self, root: str) -> Storage:
        """Where its results lie: on the head, and in the bucket."""
        execution = Execution(name="", storage_root=self._aws.uri(root), scratch=SCRATCH)
        (head,) = self.cloud.workers("head").values()
        return Storage(head.home / "scratch" / execution.work_folder.name, execution.stores.uri)

    def only_the_head(self) -> bool:
        """No worker runs."""
        return len(self.cloud.instances()) == 1 and self.desk.nodes() == 1

    def run(self) -> bool:
        """Up, undisturbed, with two spot nodes taken, down; tells each, and whether all is as it should be."""
        print(f"ray up: the head is there after {self.desk.up():.0f} s; no worker runs", flush=True)
        assert self.only_the_head()
        begun = time.monotonic()
        if code := self.submit("undisturbed").wait():
            raise SystemExit(f"the undisturbed job ended with {code}; see {self.desk.log}")
        print(f"undisturbed: the line up to the sweep in {time.monotonic() - begun:.0f} s, {self.came()}", flush=True)
        self._goes()
        begun, before, taken = time.monotonic(), set(self.cloud.launched), list[str]()
        command = self.submit("disturbed")
        for phase in PHASES[:2]:
            taken.append(self._lose_one(phase, command))
        if code := command.wait():
            raise SystemExit(f"the job whose nodes were taken ended with {code}; see {self.desk.log}")
        seconds, came = time.monotonic() - begun, self.came(before)
        print(f"disturbed: {'; '.join(taken)}; the job ended well after {seconds:.0f} s, {came}", flush=True)
        wanted, found = (line.content(self.storage(root), trained=False) for root in ("undisturbed", "disturbed"))
        twice = line.paid_twice(self.storage("disturbed"))
        self._goes()
        self.desk.close_tunnel()
        self.desk.down()
        self.desk.until(lambda: not (self.cloud.instances() or self.cloud.hosts), "every instance is ended")
        different = line.compare(wanted, found)
        same = (
            f"DIFFERENT: {different}" if different else f"all {len(wanted)} results identical to the undisturbed run's"
        )
        print(
            f"cloud: {len(self.cloud.launched)} instances came and went; {len(taken)} spot nodes taken at work: "
            f"{same}; {twice} captions paid twice; ray down ended all"
        )
        return not different

    def came(self, before: frozenset[str] | set[str] = frozenset()) -> str:
        """Which instances were started for work since then."""
        told = [
            f"{one['InstanceType']} ({one.get('InstanceLifecycle', 'on demand')})"
            for name, one in self.cloud.launched.items()
            if name not in before and one["InstanceType"] != "m6i.2xlarge"
        ]
        return "for which came " + ", ".join(f"{told.count(one)} {one}" for one in sorted(set(told)))

    def _lose_one(self, phase: line.Phase, command: "subprocess.Popen[bytes]") -> str:
        """One spot node at this work is taken away."""

        def at_work() -> dict[str, int]:
            found = {name: phase.working(_processes(host)) for name, host in self.cloud.workers("caption_gpu").items()}
            return {name: count for name, count in found.items() if count}

        done, _ = line.at_moment(
            phase, self.storage("disturbed"), lambda: command.poll() is None, lambda: list(at_work().values())
        )
        (name, count), *others = at_work().items()
        self.cloud.take(name)
        return (
            f"a node with {count} of {count + sum(c for _, c in others)} at {phase.command} after {done} {phase.unit}"
        )

    def _goes(self) -> None:
        begun = time.monotonic()
        self.desk.until(self.only_the_head, "idle workers are given back")
        print(f"idle: all workers were given back within {time.monotonic() - begun:.0f} s", flush=True)


def _processes(host: Host) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error, AssertionError):  # it is just losing its power
        return host.processes()
    return []


@contextmanager
def tried(folder: Path) -> Iterator[Tried]:
    """Everything, ended with the block."""
    with Network(ADDRESS) as network, Aws(network) as aws:
        public = make_key(folder / "desk-key")
        host = Host("desk", network, DESK, folder / "desk", None, public, user=USER)
        prepare(host, aws)
        desk = Desk(host, SHEET, cluster_file(), "source ~/.bashrc", num_at_first=1)
        with Cloud(folder / "instances", network, aws, host.home) as cloud:
            try:
                host.start()
                yield Tried(cloud, desk, aws)
            finally:
                host.remove()


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=Path("runs/cluster-test/cloud"))
    folder = line.fresh(parser.parse_args().folder.resolve())
    if os.geteuid() != 0 or (missing := missing_tools()):
        print(f"cloud: NOT RUN: needs root and {', '.join(missing) if os.geteuid() == 0 else 'its tools'}")
        return 69
    with tried(folder) as suite:
        return 0 if suite.run() else 1


if __name__ == "__main__":
    sys.exit(main())
