"""The storage that an execution names, looked at from every node before work is sent there.

Runs a small task on each node. Knows nothing of stages.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.artifacts.storage_probe import DRIVER, Seen, StorageProbe, raise_unshared
from orchestrator.config.execution import Execution
from orchestrator.errors import ArtifactError, ConfigError

TIMEOUT_S, MAX_CLOCK_S = 120.0, 5.0


def places_of(execution: Execution) -> dict[str, str]:
    """Where the execution keeps what nodes share, by setting."""
    found = {
        "storage_root": execution.storage_root,
        "store_root": execution.store_root,
        "checkpoints.root": execution.checkpoints.root,
    }
    return {name: place for name, place in found.items() if place is not None}


def require_reachable_root(execution: Execution) -> None:
    """Refuse a storage root that nodes of a cluster which is not our own cannot have in common.

    Raises:
        ConfigError: it is relative to a folder of this process, or a bucket that a part of the execution cannot use.
    """
    if execution.is_remote:
        if execution.input.loaders == "ray_data":
            raise ConfigError(
                "execution.input.loaders: ray_data with a storage root in a bucket: its actors open the files that the "
                "training's own node has copies of",
                expected="loaders: processes, or a storage root that all nodes share",
                remedy="--set input.loaders=processes",
            )
        return
    if not Path(execution.storage_root).is_absolute():
        raise ConfigError(
            f"execution.storage_root: {execution.storage_root} is relative to a folder that ends with the job",
            expected="the absolute path of a folder that all nodes share",
            remedy="--set storage_root=/absolute/folder, or use jobs/executions/cluster.yaml",
        )


def _look(probe: StorageProbe, name: str) -> Seen:
    return probe.look(name)


def require_shared(execution: Execution) -> Iterator[str]:
    """Write, rename and read in each place, here and on every node; yields what is worth telling and stops nothing.

    Raises:
        ArtifactError: a place that some node does not share, or may not write, or a node that does not answer.
    """
    probe = StorageProbe(places_of(execution))
    nodes = {f"node-{node['NodeID'][:8]}": node for node in ray.nodes() if node["Alive"]}
    try:
        raise_unshared({DRIVER: probe.leave(DRIVER)})
        before = time.time()
        task = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = {
            name: task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            ).remote(probe, name)
            for name, node in nodes.items()
        }
        seen: dict[str, Seen] = {}
        silent: list[str] = []
        deadline = time.monotonic() + TIMEOUT_S
        for name, answer in asked.items():
            try:
                seen[name] = ray.get(answer, timeout=max(0.1, deadline - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                silent.append(f"{name} ({nodes[name]['NodeManagerHostname']})")
            except ray.exceptions.RayError as error:  # a node that leaves while it is asked is no longer of the cluster
                yield f"{name}: could not look at the storage ({str(error).splitlines()[0][:120]})"
        if silent:
            raise ArtifactError(
                f"{', '.join(silent)}: no answer from the storage within {TIMEOUT_S:g} s",
                expected="storage that answers",
                remedy="look at its mount there: a hard NFS mount waits for ever for a server that is away",
            )
        after = time.time()
        raise_unshared({**seen, DRIVER: probe.find(list(seen))})
        for name, one in seen.items():
            skew = one.unix_s - min(max(one.unix_s, before), after)
            if abs(skew) > MAX_CLOCK_S:
                yield f"{name} ({one.host}): its clock is {skew:+.0f} s from this one's; synchronise the clocks (NTP)"
    finally:
        probe.clear(list(nodes))
