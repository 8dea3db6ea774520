"""What `orchestrator doctor` looks at of Ray: the token, the cluster, and whether the execution fits it.

Joins a running cluster or starts a local one for a moment. Knows nothing of stages.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import ray

from orchestrator.config.execution import ActorPoolSettings, Execution
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.on_ray.cluster import Cluster
from orchestrator.on_ray.storage import places_of, require_reachable_root, require_shared
from orchestrator.stages.doctor import Finding

TOKEN_FILE = Path.home() / ".ray" / "auth_token"


def token() -> Iterator[Finding]:
    """Whether the cluster's doors ask for a token, and whether we have one."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_FILE)
    has = bool(os.environ.get("RAY_AUTH_TOKEN")) or path.is_file()
    if mode == "disabled":
        yield Finding(
            "token", "warning", "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports can run code",
            "export RAY_AUTH_MODE=token",
        )  # fmt: skip
    elif not has:
        yield Finding("token", "ok", f"none yet; a local cluster makes one in {path}")
    elif not os.environ.get("RAY_AUTH_TOKEN") and path.stat().st_mode & 0o077:
        yield Finding("token", "warning", f"{path} can be read by others on this machine", f"chmod 600 {path}")
    else:
        yield Finding("token", "ok", "there is one" + ("" if mode == "token" else "; RAY_AUTH_MODE is not set"))


def cluster(execution: Execution) -> Iterator[Finding]:
    """The cluster answers, and each part of the execution fits it and one of its nodes."""
    opened = Cluster(execution.cluster)
    try:
        total = ray.cluster_resources()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        told = f"Ray {ray.__version__}: {len(nodes)} nodes, {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs"
        yield Finding("ray", "ok", told + (" (started for this look)" if opened.is_own else ""))
        if not opened.is_own:
            yield from _storage(execution, len(nodes))
        workers, trials = execution.training, execution.trials
        parts = {
            "captioning": _of_pool(execution.captioning),
            "embedding": _of_pool(execution.embedding),
            "training": (workers.least_workers, workers.num_cpus_per_worker, workers.num_gpus_per_worker),
            "trials": (trials.processes, trials.num_cpus_per_worker, trials.num_gpus_per_worker),
        }
        for name, (count, cpus, gpus) in parts.items():
            try:
                opened.require(name, num_cpus=count * cpus, num_gpus=count * gpus)
                opened.require_on_a_node(f"one process of {name}", num_cpus=cpus, num_gpus=gpus)
            except ConfigError as error:
                yield Finding("ray", "problem", error.wrong, error.remedy)
    finally:
        opened.close()


def _of_pool(pool: ActorPoolSettings) -> tuple[int, float, float]:
    return pool.num_actors, pool.num_cpus_per_actor, pool.num_gpus_per_actor


def _storage(execution: Execution, num_nodes: int) -> Iterator[Finding]:
    """Every node shares the storage, and its clock is right."""
    try:
        require_reachable_root(execution)
        warned = list(require_shared(execution))
    except (ArtifactError, ConfigError) as error:
        yield Finding("storage", "problem", error.wrong, error.remedy)
        return
    yield from (Finding("storage", "warning", told) for told in warned)
    yield Finding("storage", "ok", f"{num_nodes} nodes share {', '.join(places_of(execution))}")
