"""Chaos: a student trained by two workers under Ray while processes are killed; prints what each kill cost.

Every round trains the same job with `train_distributed` in a driver process of its own, on a Ray cluster of its own,
while a worker, the Train controller or the driver is killed (SIGKILL) at moments drawn uniformly over the time that an
undisturbed training takes. After a kill that ends the driver, the same driver is started again. A round ends when a
driver ends well; then its student must have the undisturbed one's bytes, and its history the same numbers.

    python -m benchmarks.chaos_training [--kills 20] [--folder runs/chaos-training] [--seed 0]

Steps lost are those that the first worker had told (it tells after each epoch, which has 3 steps here) beyond the
newest checkpoint, from which the next attempt goes on. Finished rounds are kept in the folder, so that an interrupted
benchmark goes on. The last line is the figure.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.training.run import HISTORY, RESULT, TrainingJob, read_progress
from orchestrator.training.student_file import STUDENT

PROJECT = Path(__file__).resolve().parents[1]
TITLES = {"worker": "RayTrainWorker", "controller": "TrainController"}
TARGETS = ("worker", "worker", "controller", "driver")
EVERY_STEPS, STEPS_PER_EPOCH, PATIENCE_S = 10, 3, 900
DRIVER = """
import sys
from pathlib import Path
from orchestrator.config.execution import ClusterSettings, Execution, WorkerSettings
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.training.run import TrainingJob

job = TrainingJob.model_validate_json(Path(sys.argv[1]).read_bytes())
execution = Execution(name="chaos", storage_root=sys.argv[2], cluster=ClusterSettings(num_cpus=2))
executor = RayExecutor(execution)
try:
    executor.train(job, WorkerSettings(num_workers=2, max_failures=100), lambda told: None)
finally:
    executor.close()
"""


def made_job(folder: Path, epochs: int) -> TrainingJob:
    """The job of the smoke experiment, over artifacts that are made once in the folder."""
    from tests.smoke_line import make_smoke_line

    path = folder / "job.json"
    if not path.is_file():
        shutil.rmtree(folder / "line", ignore_errors=True)
        line = make_smoke_line(folder / "line")
        changes = {
            "training.epochs": epochs, "training.checkpoint_every_epochs": 10, "training.evaluate_every_epochs": 50,
        }  # fmt: skip
        write_json(path, json.loads(line.job(folder / "job", changes).model_dump_json()))
    job = TrainingJob.model_validate_json(path.read_bytes())
    often = job.checkpointing.model_copy(update={"every_steps": EVERY_STEPS})
    return job.model_copy(update={"checkpointing": often})


def start(root: Path, job: TrainingJob) -> psutil.Popen:
    """Start a driver of the job with its results below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    written = root / "job.json"
    written.write_text(job.model_copy(update={"folder": str(root / "run")}).model_dump_json())
    log = (root.parent / f"{root.name}.log").open("ab")
    return psutil.Popen([sys.executable, "-c", DRIVER, str(written), str(root)], cwd=PROJECT, stdout=log, stderr=log)


def content(root: Path) -> dict[str, Any]:
    """What must not depend on any kill: the student's bytes, its history without measured times, its result."""
    rows = [
        {name: value for name, value in row.items() if not name.startswith("speed/")}
        for row in read_json(root / "run" / HISTORY)
    ]
    return {"student": digest_file(root / "run" / STUDENT), "history": rows, "result": read_json(root / "run" / RESULT)}


def as_text(value: Any) -> str:
    """For comparing: an accuracy over no class is NaN, which equals nothing as a number."""
    return json.dumps(value, sort_keys=True)


def find(child: psutil.Popen, target: str, generator: random.Random) -> psutil.Process | None:
    """A process to kill: the driver itself, its controller, or one of its workers."""
    if target == "driver":
        return psutil.Process(child.pid)
    found = []
    try:
        for process in child.children(recursive=True):
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if line and TITLES[target] in line[0]:
                found.append(process)
    except psutil.Error:
        return None
    return generator.choice(sorted(found, key=lambda process: process.pid)) if found else None


def newest_step(root: Path) -> int:
    """Of the checkpoints in the folder that are whole."""
    names = (root / "run" / "checkpoints").glob("step-*.json")
    return max((int(path.stem[5:]) for path in names), default=0)


def run_round(root: Path, job: TrainingJob, generator: random.Random, span_s: float, at_most: int) -> dict[str, Any]:
    """Drivers and kills until one driver ends well; what it took."""
    kills: list[str] = []
    lost: list[int] = []
    codes: list[int] = []
    here = job.model_copy(update={"folder": str(root / "run")})
    while True:
        child = start(root, job)
        while len(kills) < at_most and child.poll() is None:
            target, until = TARGETS[generator.randrange(len(TARGETS))], time.monotonic() + generator.uniform(0, span_s)
            while child.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if child.poll() is not None or (process := find(child, target, generator)) is None:
                continue
            told = read_progress(here).get("epoch", 0) * STEPS_PER_EPOCH
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
            kills.append(target)
            lost.append(max(0, told - newest_step(root)))
            if target == "driver":
                break
        codes.append(child.wait(PATIENCE_S))
        if codes[-1] == 0:
            return {"kills": kills, "lost": lost, "codes": codes, **content(root)}
        if len(codes) > len(kills) + 3:
            raise SystemExit(f"{codes[-3:]} without a kill; see {root}.log")
        time.sleep(2.0)  # Ray ends what belongs to a killed driver by itself


def main() -> int:
    """Rounds until the kills are used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--folder", type=Path, default=Path("runs/chaos-training"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    job, reference = made_job(folder, arguments.epochs), folder / "undisturbed.json"
    if not reference.is_file():
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        begun = time.monotonic()
        if start(folder / "undisturbed", job).wait() != 0:
            raise SystemExit(f"the undisturbed training failed; see {folder / 'undisturbed.log'}")
        write_json(reference, {"seconds": time.monotonic() - begun, **content(folder / "undisturbed")})
    wanted, done = read_json(reference), list[dict[str, Any]]()
    print(f"undisturbed: {len(wanted['history'])} epochs on 2 workers in {wanted['seconds']:.0f} s", flush=True)
    while (killed := sum(len(each["kills"]) for each in done)) < arguments.kills:
        number = len(done)
        path = folder / f"round-{number:02d}.json"
        if not path.is_file():
            root = folder / f"round-{number:02d}"
            shutil.rmtree(root, ignore_errors=True)
            generator = random.Random(f"{arguments.seed}/{number}")
            told = run_round(root, job, generator, 0.8 * wanted["seconds"], arguments.kills - killed)
            told["equal"] = all(
                as_text(told[name]) == as_text(wanted[name]) for name in ("student", "history", "result")
            )
            write_json(path, {name: told[name] for name in ("kills", "lost", "codes", "equal")})
        done.append(read_json(path))
        each = done[-1]
        same = "identical" if each["equal"] else "DIFFERENT"
        print(f"round {number}: kills {', '.join(each['kills'])}; steps lost {each['lost']}; {same}", flush=True)
        if not each["equal"]:
            print(f"FAILED in round {number}: see {path}")
            return 1
    kinds = Counter(kind for each in done for kind in each["kills"])
    lost = [steps for each in done for steps in each["lost"]]
    print(", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()))
    print(
        f"{len(lost)} kills in {len(done)} rounds: weights, history and result identical to the undisturbed ones; "
        f"{sum(lost) / max(1, len(lost)):.1f} steps lost per kill, {max(lost, default=0)} at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
