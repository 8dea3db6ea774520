"""Chaos: a sweep under Ray whose driver is killed (SIGKILL) again and again; prints what each kill cost.

Every round runs the same sweep with the Ray engine in a driver process of its own, on a Ray cluster of its own, and
kills the driver; after each kill the same driver is started again. The moment is drawn uniformly over the time that an
undisturbed sweep takes: for every second kill from the driver's start, which meets the start of Ray as well, for the
others from the first epoch that a trial tells. After at most four kills the driver is left alone. A round ends when a
driver ends well; then its trials must have the values, states, histories and students of the undisturbed sweep, to
the last bit. Even rounds run packed trials with values drawn at random, odd
ones a trial at a time with values that Optuna proposes from those that have ended. (Where trials that run side by
side are proposed or stopped by what others have reached, their order in time decides, and no two sweeps are equal.)

    python -m benchmarks.chaos_sweep [--kills 20] [--trials 8] [--epochs 60] [--folder runs/chaos-sweep] [--seed 0]

Epochs lost are those that trials had told beyond the checkpoints from which the next driver goes on. Finished rounds
are kept in the folder, so that an interrupted benchmark goes on. The last line is the figure.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.on_ray.trial_journal import Journal, trial_folder
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.training.student_file import STUDENT

PROJECT = Path(__file__).resolve().parents[1]
KINDS = ("packed", "proposed")
STEPS_PER_EPOCH, PATIENCE_S, KILLS_PER_ROUND = 3, 1800, 4
DRIVER = """
import sys
from pathlib import Path
from orchestrator.config.execution import ClusterSettings, Execution, TrialSettings
from orchestrator.executors.protocol import SweepJob
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.search.space import SearchSpace
from tests.smoke_line import make_smoke_line

line, folder, together = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
made = make_smoke_line(line)
space = SearchSpace.model_validate_json((folder / "space.json").read_bytes())
job = SweepJob("smoke/sweep/chaos", folder, space, made.context.experiment, made.job(folder))
executor = RayExecutor(Execution(name="chaos", storage_root=str(folder), cluster=ClusterSettings(num_cpus=2)))
try:
    executor.sweep(job, TrialSettings(trials_per_worker=together), lambda told: None, lambda told: None)
finally:
    executor.close()
"""


def space_of(kind: str, trials: int, epochs: int) -> dict[str, Any]:
    """The sheet of the sweep."""
    searcher = {"kind": "random"} if kind == "packed" else {"kind": "optuna_tpe", "num_startup_trials": 2}
    return {
        "name": "chaos", "question": "Does a kill change anything?", "expected": "No.", "cost": "minutes",
        "parameters": {
            "losses.text.weight": {"kind": "loguniform", "low": 0.1, "high": 10},
            "training.optimizer.learning_rate": {"kind": "loguniform", "low": 1e-4, "high": 1e-2},
        },
        "fixed": {
            "training.epochs": epochs, "training.checkpoint_every_epochs": 5, "training.evaluate_every_epochs": 20,
        },
        "objectives": {"select/all": "max"}, "budget": {"num_trials": trials},
        "scheduler": {"kind": "none"}, "searcher": searcher,
    }  # fmt: skip


def start(root: Path, line: Path, kind: str, given: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start a driver of the sweep in `root`."""
    if not (root / "space.json").is_file():
        write_json(root / "space.json", space_of(kind, given.trials, given.epochs))
    with (root.parent / f"{root.name}.log").open("ab") as log:
        together = "4" if kind == "packed" else "1"
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(line), str(root), together], cwd=PROJECT, stdout=log, stderr=log
        )


def content(root: Path) -> str:
    """What must not depend on any kill, as text (an accuracy over no class is NaN, which equals nothing)."""
    trials = []
    for number, one in SweepFolder(root).ended().items():
        rows = [{name: row[name] for name in row if not name.startswith("speed/")} for row in one.history]
        student = trial_folder(root, number) / STUDENT
        digest = digest_file(student) if student.is_file() else ""
        trials.append([number, dict(one.values), one.status, one.error, one.epochs, rows, digest])
    return json.dumps(trials, sort_keys=True)


def lost_epochs(root: Path) -> int:
    """Of all trials that run: epochs told beyond the newest checkpoint."""
    ended, lost = SweepFolder(root).ended(), 0
    for folder in (root / "trials").glob("[0-9]*"):
        if int(folder.name) not in ended:
            steps = [int(path.stem[5:]) for path in (folder / "checkpoints").glob("step-*.json")]
            lost += max(0, Journal(folder).epoch - max(steps, default=0) // STEPS_PER_EPOCH)
    return lost


def epochs_told(root: Path) -> int:
    """By all trials of the sweep together."""
    return sum(Journal(folder).epoch for folder in (root / "trials").glob("[0-9]*"))


def wait_for_work(driver: subprocess.Popen[bytes], root: Path) -> None:
    """Until a trial tells an epoch, or the driver ends."""
    before, patience = epochs_told(root), time.monotonic() + PATIENCE_S
    while driver.poll() is None and epochs_told(root) <= before and time.monotonic() < patience:
        time.sleep(0.1)


def run_round(
    root: Path, line: Path, kind: str, given: argparse.Namespace, generator: random.Random, span_s: float, at_most: int
) -> dict[str, Any]:
    """Drivers and kills until one driver ends well; what it took."""
    lost: list[int] = []
    repeated = 0
    while True:
        ended = {number: one.seconds for number, one in SweepFolder(root).ended().items()}
        driver, wait_s = start(root, line, kind, given), generator.uniform(0, span_s)
        try:
            if len(lost) % 2 and len(lost) < at_most:
                wait_for_work(driver, root)
            code = driver.wait(wait_s if len(lost) < at_most else PATIENCE_S)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            time.sleep(3.0)  # Ray ends what belongs to a killed driver by itself
            lost.append(lost_epochs(root))
            code = -signal.SIGKILL
        now = SweepFolder(root).ended()
        repeated += sum(number not in now or now[number].seconds != seconds for number, seconds in ended.items())
        if code == 0:
            return {"lost": lost, "repeated": repeated, "content": content(root)}
        if code != -signal.SIGKILL:
            raise SystemExit(f"a driver ended with {code} without a kill; see {root}.log")


def main() -> int:
    """Rounds until the kills are used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path("runs/chaos-sweep"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    line, wanted = folder / "line", dict[str, dict[str, Any]]()
    for kind in KINDS:
        reference = folder / f"undisturbed-{kind}.json"
        if not reference.is_file():
            root = folder / f"undisturbed-{kind}"
            shutil.rmtree(root, ignore_errors=True)
            begun = time.monotonic()
            if start(root, line, kind, given).wait() != 0:
                raise SystemExit(f"the undisturbed sweep failed; see {root}.log")
            write_json(reference, {"seconds": time.monotonic() - begun, "content": content(root)})
        wanted[kind] = read_json(reference)
        print(f"undisturbed, {kind}: {given.trials} trials in {wanted[kind]['seconds']:.0f} s", flush=True)
    done: list[dict[str, Any]] = []
    while (killed := sum(len(each["lost"]) for each in done)) < given.kills:
        number = len(done)
        path, kind = folder / f"round-{number:02d}.json", KINDS[number % len(KINDS)]
        if not path.is_file():
            root = folder / f"round-{number:02d}"
            shutil.rmtree(root, ignore_errors=True)
            generator = random.Random(f"{given.seed}/{number}")
            at_most = min(KILLS_PER_ROUND, given.kills - killed)
            told = run_round(root, line, kind, given, generator, wanted[kind]["seconds"], at_most)
            equal = told.pop("content") == wanted[kind]["content"]
            write_json(path, {**told, "equal": equal, "kind": kind})
        done.append(read_json(path))
        each = done[-1]
        same = "identical" if each["equal"] else "DIFFERENT"
        print(f"round {number}, {kind}: {len(each['lost'])} kills, epochs lost {each['lost']}; {same}", flush=True)
        if not each["equal"] or each["repeated"]:
            print(f"FAILED in round {number}: {each['repeated']} trials repeated; see {path}")
            return 1
    lost = [epochs for each in done for epochs in each["lost"]]
    print(
        f"{len(lost)} kills of the driver in {len(done)} rounds: trials, values, histories and students identical to "
        f"the undisturbed sweep's; 0 trials lost, 0 repeated, {sum(lost) / max(1, len(lost)):.1f} epochs trained twice "
        "per kill"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
