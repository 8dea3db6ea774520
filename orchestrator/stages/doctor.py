"""What `orchestrator doctor` looks at besides Ray: packages, storage, memory, devices, MLflow; with remedies.

Writes and removes a probe file in the storage that an execution names. Knows nothing of Ray.
"""

import importlib.metadata
import os
import re
import resource
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.artifacts.file_systems import open_file_system
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.storage import write_bytes
from orchestrator.config.execution import Execution
from orchestrator.tracking import reach, resolve_uri

Level = Literal["ok", "warning", "problem"]
MIN_FREE_GIB, MIN_OPEN_FILES, MAX_CLOCK_S, MAX_OPEN_S = 20.0, 4096, 5.0, 2.0
GIB = 2**30
SETTING_OF = {"storage": "storage_root", "stores": "store_root"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: `problem` means that a run will fail, `warning` that it may."""

    area: str
    level: Level
    told: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


def examine(checks: Sequence[tuple[str, Check]]) -> Iterator[Finding]:
    """The findings of each check; a check that fails is a finding itself."""
    for area, check in checks:
        try:
            yield from check()
        except Exception as error:  # the doctor must tell what it met, whatever it was
            first = (str(error).strip().splitlines() or [""])[0]
            remedy = getattr(error, "remedy", "")
            if isinstance(error, OSError) and area in ("storage", "stores"):
                remedy = f"name a place that can be written, with --set {SETTING_OF[area]}=..."
            yield Finding(area, "problem", f"{type(error).__name__}: {first}"[:300], remedy)


def checks(execution: Execution, project: Path) -> list[tuple[str, Check]]:
    """What is looked at without Ray."""
    return [
        ("python", python),
        ("packages", lambda: packages(project / "constraints.txt")),
        ("storage", lambda: storage(execution.work_folder)),
        ("stores", lambda: stores(execution)),
        ("memory", lambda: memory(execution)),
        ("devices", lambda: devices(execution)),
        ("mlflow", lambda: mlflow(execution)),
    ]


def python() -> Iterator[Finding]:
    """The interpreter and the limit of open files."""
    told = f"Python {sys.version.split()[0]}"
    right = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if right else "problem", told, "" if right else "use Python 3.11 or newer")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_OPEN_FILES:
        yield Finding("python", "warning", f"{soft} open files are allowed; Ray wants many", f"ulimit -n {hard}")


def packages(constraints: Path) -> Iterator[Finding]:
    """Installed versions beside the pins; torch and torchvision must fit each other."""
    if not constraints.is_file():
        yield Finding("packages", "warning", f"no {constraints.name} here to compare with", "run it in the project")
    else:
        pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", constraints.read_text(), re.MULTILINE))
        other = []
        for name, version in pins.items():
            try:
                found = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found = "missing"
            if found != version:
                other.append(f"{name} {found}, pinned {version}")
        shown = "; ".join(other[:5]) + (f"; and {len(other) - 5} more" if len(other) > 5 else "")
        level: Level = "warning" if other else "ok"
        remedy = "make setup, or pip install -c constraints.txt -e '.[dev]'" if other else ""
        yield Finding("packages", level, shown or f"all {len(pins)} pinned packages are installed", remedy)
    import torchvision.ops  # a build that does not fit torch fails here, and not before

    assert torchvision.ops.nms is not None


def storage(root: Path) -> Iterator[Finding]:
    """Write, rename, read and remove a file below the storage root; its clock and its room."""
    folder, was_there = root / f".doctor-{uuid.uuid4().hex}", root.exists()
    before, data = time.time(), os.urandom(1024)
    try:
        write_bytes(folder / "probe", data)
        renamed = (folder / "probe").replace(folder / "renamed")
        whole = renamed.read_bytes() == data
        skew, free = renamed.stat().st_mtime - before, shutil.disk_usage(root).free / GIB
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there and root.is_dir():
            root.rmdir()
    took_ms = (time.time() - before) * 1000
    if whole:
        yield Finding("storage", "ok", f"{root}: write, rename, read, remove in {took_ms:.0f} ms")
    else:
        yield Finding("storage", "problem", f"{root} gives back other bytes than it was given", "use another storage")
    if abs(skew) > MAX_CLOCK_S:
        yield Finding(
            "storage",
            "warning",
            f"{root}: its clock is {skew:+.0f} s from this machine's",
            "synchronise the clocks (NTP)",
        )
    remedy = "make room, or set storage_root to a larger disk" if free < MIN_FREE_GIB else ""
    yield Finding("storage", "ok" if not remedy else "warning", f"{root}: {free:.0f} GiB free", remedy)


def stores(execution: Execution) -> Iterator[Finding]:
    """Write, read and remove a file where the teacher stores are, if that is somewhere else."""
    if execution.store_root is None and not execution.is_remote:
        return
    folder, data = Folder(execution.stores.uri).child(f"doctor-{uuid.uuid4().hex}"), os.urandom(1024)
    if folder.local is None:
        begun = time.monotonic()
        open_file_system(folder.uri)
        if (took_s := time.monotonic() - begun) > MAX_OPEN_S:
            told = f"{execution.stores}: {took_s:.1f} s until it was open, in each process anew"
            remedy = "outside of AWS, export AWS_EC2_METADATA_DISABLED=true on every machine; else look at the network"
            yield Finding("stores", "warning", told, remedy)
    folder.write("probe", data)
    whole = folder.read("probe") == data
    folder.delete("probe")
    level: Level = "ok" if whole else "problem"
    yield Finding("stores", level, f"{execution.stores}: write, read, remove", "" if whole else "use another storage")


def memory(execution: Execution) -> Iterator[Finding]:
    """Shared memory, which Ray's object store lies in."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or execution.engine != "ray":
        return
    free = shutil.disk_usage(shared).free / 2**20
    wanted = execution.cluster.object_store_mib or 512
    remedy = "start the container with --shm-size, or lower cluster.object_store_mib" if free < wanted else ""
    told = f"{free:,.0f} MiB of shared memory free, {wanted:,} MiB for Ray's object store"
    yield Finding("memory", "problem" if remedy else "ok", told, remedy)


def devices(execution: Execution) -> Iterator[Finding]:
    """GPUs of this machine beside what the execution asks of its nodes."""
    import torch

    asked = max(
        execution.captioning.num_gpus_per_actor,
        execution.embedding.num_gpus_per_actor,
        execution.training.num_gpus_per_worker,
        execution.trials.num_gpus_per_worker,
    )
    if not torch.cuda.is_available():
        here = execution.cluster.address == "local" and asked > 0 and execution.cluster.num_gpus is None
        remedy = "nvidia-smi tells whether there is a driver; the torch build must be one with CUDA" if here else ""
        yield Finding("devices", "problem" if here else "ok", f"no GPU here, {asked:g} asked of a node", remedy)
        return
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "none"
    yield Finding("devices", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}, NCCL {nccl}")


def mlflow(execution: Execution) -> Iterator[Finding]:
    """The tracking store answers and its schema is the installed MLflow's."""
    if execution.tracking.kind == "none":
        yield Finding("mlflow", "ok", "tracking is off in this execution")
        return
    uri = resolve_uri(execution.tracking, execution.work_folder)
    told, remedy = reach(uri)
    yield Finding("mlflow", "problem" if remedy else "ok", told, remedy)
