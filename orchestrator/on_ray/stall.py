"""Telling why nothing comes back from a pool of actors, while the user can still do something about it.

Asks Ray for its nodes, free resources and actors. Knows nothing of what the actors compute.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.util.state import list_actors

from orchestrator.config.execution import ActorPoolSettings
from orchestrator.executors.protocol import OnStall

STALL_S = 60.0  # without a receipt


@contextmanager
def watch(pool: ActorPoolSettings, on_stall: OnStall) -> Iterator[Callable[[], None]]:
    """Call `on_stall` with a reason whenever STALL_S pass without a call of the yielded function."""
    last = time.monotonic()
    ended = threading.Event()

    def seen() -> None:
        nonlocal last
        last = time.monotonic()

    def run() -> None:
        told = 0.0
        while not ended.wait(min(STALL_S / 10, 5.0)):
            now = time.monotonic()
            if now - last >= STALL_S and now - told >= STALL_S:
                told = now
                on_stall(f"no micro-batch has ended for {now - last:.0f} s: {reason(pool)}")

    thread = threading.Thread(target=run, name="stall", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(timeout=10)


def reason(pool: ActorPoolSettings) -> str:
    """What the cluster says about the pool, in words with numbers."""
    try:
        free, total = ray.available_resources(), ray.cluster_resources()
        dead = [node for node in ray.nodes() if not node["Alive"]]
        here = ray.get_runtime_context()
        mine = [("job_id", "=", here.get_job_id())]
        actors = list_actors(address=here.gcs_address, filters=mine, limit=1000, raise_on_missing_output=False)
        states = Counter(actor.state for actor in actors if "MapWorker" in str(actor.class_name))
    except Exception as error:
        return f"the cluster does not answer ({type(error).__name__}: {error})"
    needed = {"CPU": pool.num_cpus_per_actor, "GPU": pool.num_gpus_per_actor}
    arithmetic = ", ".join(
        f"{amount:g} {name} ({free.get(name, 0.0):g} of {total.get(name, 0.0):g} free)"
        for name, amount in needed.items()
        if amount
    )
    said = [f"{len(dead)} nodes are lost"] if dead else []
    waiting, alive = states["PENDING_CREATION"] + states["DEPENDENCIES_UNREADY"], states["ALIVE"]
    short = any(free.get(name, 0.0) + 1e-9 < amount for name, amount in needed.items())
    if waiting and short and not alive:
        said.append(f"no actor has a place: each needs {arithmetic}; something else holds the rest")
    elif waiting:
        said.append(f"{waiting} actors are starting or loading their model, each on {arithmetic}")
    if states["RESTARTING"]:
        said.append(f"{states['RESTARTING']} actors died and are started again")
    if alive:
        said.append(f"{alive} actors are alive")
    return "; ".join(said) or f"the pool has no actor yet, each needs {arithmetic}"
