"""Time from a command to its first optimiser step, and where it goes: in process, under torchrun, under Ray Train.

Everything that training reads is made before. Each driver then trains one student of the smoke experiment with a
ResNet-18 in place of its own, again and again in fresh processes that take turns; the training notes when it reached
what (`first_step.json`). Medians are told, of wall time and of the training process's own processor time, which a busy
machine disturbs less; imports are those of the same modules in a fresh interpreter. `--cold`
has the kernel forget the environment's and the data's files before each command (as far as no running process maps
them) and removes the memory-mapped copies of teacher rows, so that they are read and made anew.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SHEET = ["jobs/experiments/smoke.yaml", "sweep=null", "arms={distilled: {}}", "student={kind: timm, name: resnet18}",
         "training.epochs=1"]  # fmt: skip
ARM, MOMENTS = "distilled", "first_step.json"
IMPORTS = {
    "in process": "import orchestrator.stages.command, orchestrator.executors.in_process, "
    "orchestrator.students.networks.timm_student",
    "torchrun": "import jobs.train_worker, orchestrator.students.networks.timm_student",
    "Ray Train": "import ray.train.torch, orchestrator.on_ray.train, orchestrator.students.networks.timm_student",
}
PHASES = {
    "data": "index, pixels and teacher rows",
    "student": "student, losses, optimiser",
    "first_batch": "first batch",
    "first_step": "first step",
}
Seconds = tuple[float, float]  # of wall and of processor time


def commands(root: Path) -> dict[str, list[str]]:
    """The command of each driver."""
    options = ["--set", f"storage_root={root}", "--set", "tracking.kind=none", "--quiet"]
    train = [str(BIN / "orchestrator"), "train", *SHEET]
    return {
        "in process": [*train, "-x", "jobs/executions/in_process.yaml", *options],
        "torchrun": [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "1", "-m", "jobs.train_worker",
                     str(root / "jobs" / f"{ARM}.json")],
        "Ray Train": [*train, "-x", "jobs/executions/laptop.yaml", *options, "--set", "training.num_workers=1"],
    }  # fmt: skip


def prepare(root: Path) -> None:
    """Everything that the training reads, and its job as a file."""
    options = ["-x", "jobs/executions/in_process.yaml", "--set", f"storage_root={root}", "--set", "tracking.kind=none"]
    run([str(BIN / "orchestrator"), "write-jobs", *SHEET[:1], str(root / "jobs"), *SHEET[1:], *options, "--quiet"])


def run(command: list[str]) -> Seconds:
    """The command to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(driver: str, command: list[str], root: Path) -> dict[str, Seconds]:
    """Each phase of one command: wall time from its start, and the processor time of the process that trains."""
    folder = root / "smoke" / "arms" / ARM
    shutil.rmtree(folder.parent)
    imports = run([sys.executable, "-c", IMPORTS[driver]])
    started = time.time()
    run(command)
    moments = json.loads((folder / MOMENTS).read_text())
    at, busy = moments["at"], moments["processor_s"]
    before = at["begun"], busy["begun"]
    found = {"to the begin of the training": (before[0] - started, before[1]), "of it imports, measured alone": imports}
    for name, what in PHASES.items():
        found[what] = at[name] - before[0], busy[name] - before[1]
        before = at[name], busy[name]
    return {**found, "command to first step": (at["first_step"] - started, busy["first_step"])}


def forget(root: Path) -> None:
    """Let the kernel drop the files' pages, and remove the hot copies."""
    for path in _files(Path(sys.prefix), root):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    for copies in root.rglob("hot"):
        shutil.rmtree(copies)


def _files(*roots: Path) -> Iterator[Path]:
    for root in roots:
        yield from (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="drop files from the cache before each command")
    given = parser.parse_args()
    os.environ |= {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="first-step-") as name:
        root = Path(name)
        prepare(root)
        before: Callable[[], None] = (lambda: forget(root)) if given.cold else (lambda: None)
        rows: dict[str, list[dict[str, Seconds]]] = {driver: [] for driver in IMPORTS}
        for number in range(given.repeats):
            for driver, command in commands(root).items():
                before()
                rows[driver].append(measured(driver, command, root))
                print(f"turn {number}, {driver}: {rows[driver][-1]['command to first step'][0]:.1f} s", flush=True)
    print(f"{'cold' if given.cold else 'warm'}, medians of {given.repeats} turns: wall / processor seconds")
    print(f"{'':32}" + "".join(f"{driver:>18}" for driver in rows))
    for name in rows["in process"][0]:
        told = [[statistics.median(row[name][clock] for row in of) for clock in (0, 1)] for of in rows.values()]
        print(f"{name:32}" + "".join(f"{wall:>10.2f} / {busy:5.2f}" for wall, busy in told))


if __name__ == "__main__":
    main()
