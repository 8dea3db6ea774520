"""A node lost in each of captioning, sweep and training, on three raylets of one machine.

The head takes no work; two nodes have two CPUs each. In each phase the raylet of a node that is at work is killed
(SIGKILL) with everything below it, the command has to end well by itself, and another node then comes. The results
must be those of an undisturbed run on the same cluster, to the last bit.

    python -m tests.cluster.raylets [--folder runs/cluster-test/raylets]

Phases that are done are kept in the folder, so that an interrupted suite goes on. The last line is the figure.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.cluster import line
from tests.cluster.line import NUM_CPUS_PER_NODE, PHASES, Phase, Record, Storage

HEAD_ARGS = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
NODE_ARGS = {"num_cpus": NUM_CPUS_PER_NODE, "object_store_memory": 100 * 2**20}


class Raylets:
    """Three raylets, and commands that run on them."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self._commands = folder, list[subprocess.Popen[bytes]]()
        self._sessions = tempfile.mkdtemp(prefix="orc-")  # short, because sockets' paths may have 107 bytes at most
        self._cluster = Cluster(initialize_head=True, head_node_args={**HEAD_ARGS, "temp_dir": self._sessions})
        self.nodes = [self._cluster.add_node(**NODE_ARGS) for _ in range(2)]

    def start(self, phase_or_run: str, root: Path) -> subprocess.Popen[bytes]:
        """A command on the cluster, its output in a log."""
        more = {"cluster.address": self._cluster.address}
        given = line.arguments(str(root), "jobs/executions/cluster.yaml", {**more, "cluster.grows_to": "[]"})
        with (self.folder / "commands.log").open("ab") as log:
            command = subprocess.Popen(
                [sys.executable, "-m", f"jobs.{phase_or_run}", *given], cwd=self.folder / "checkout",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._commands.append(command)
        return command

    def work(self, phase: Phase) -> list[int]:
        """How many processes are at a phase's work on each node."""
        return [phase.working(_below(node)) for node in self.nodes]

    def lose(self, number: int) -> None:
        """Kill a node."""
        self._cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def give_back(self) -> None:
        """The node that was lost is there again."""
        self.nodes.append(self._cluster.add_node(**NODE_ARGS))

    def close(self) -> None:
        """End all."""
        for command in self._commands:
            command.kill()
            command.wait()
        self._cluster.shutdown()
        shutil.rmtree(self._sessions, ignore_errors=True)


def _below(node: Any) -> list[psutil.Process]:
    try:
        return psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
    except psutil.Error:  # it ends just now
        return []


def _runs(command: subprocess.Popen[bytes]) -> bool:
    return command.poll() is None


@contextmanager
def raylets(folder: Path) -> Iterator[Raylets]:
    """The cluster, ended with the block."""
    cluster = Raylets(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def main() -> int:
    """Undisturbed, then each phase with a loss; then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=Path("runs/cluster-test/raylets"))
    folder: Path = parser.parse_args().folder.resolve()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    record, calm, rough = Record(folder / "record.json"), folder / "undisturbed", folder / "disturbed"
    record.tell_again()
    make_checkout(folder / "checkout")
    if all(name in record for name in ("undisturbed", *(phase.command for phase in PHASES))):
        return told(record, calm, rough)
    with raylets(folder) as cluster:
        if "undisturbed" not in record:
            begun = time.monotonic()
            if cluster.start("run", line.fresh(calm)).wait() != 0:
                raise SystemExit(f"the undisturbed run failed; see {folder}/commands.log")
            record.keep("undisturbed", f"undisturbed: the line in {time.monotonic() - begun:.0f} s")
        for phase in PHASES:
            if phase.command in record:
                continue
            if phase is PHASES[0]:
                line.fresh(rough)
            begun = time.monotonic()
            command = cluster.start(phase.command, rough)
            storage = Storage.of_folder(rough)
            done, work = line.at_moment(phase, storage, partial(_runs, command), partial(cluster.work, phase))
            cluster.lose(work.index(max(work)))
            lost = f"a node with {max(work)} of {sum(work)} processes at work"
            if code := command.wait():
                raise SystemExit(f"{phase.command} ended with {code} after the loss; see {folder}/commands.log")
            cluster.give_back()
            seconds = time.monotonic() - begun
            record.keep(
                phase.command,
                f"{phase.command}: {lost} was killed after {done} {phase.unit}; the command ended well, in "
                f"{seconds:.0f} s; another node came",
            )
    return told(record, calm, rough)


def make_checkout(target: Path) -> None:
    """A working directory with the project's code and sheets, and the sweep's."""
    from orchestrator.on_ray.jobs.package import copy_package

    line.fresh(target)
    copy_package(line.PROJECT, target)
    line.write_space(target)


def told(record: Record, calm: Path, rough: Path) -> int:
    """Compare, and tell the figure."""
    calmly, roughly = Storage.of_folder(calm), Storage.of_folder(rough)
    different = line.compare(line.content(calmly), line.content(roughly))
    print(
        f"three raylets: {len(PHASES)} nodes killed, one in each of {', '.join(p.command for p in PHASES)}: "
        + (f"DIFFERENT: {', '.join(different)}" if different else "every result identical to the undisturbed run's")
        + f"; {line.paid_twice(roughly)} captions paid twice ({line.paid_twice(calmly)} without a loss)"
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
