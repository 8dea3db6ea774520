"""A sweep of heads on cached features through the product's own command: `orchestrator sweep`, any engine.

Trials choose among the NYU designs that read the image teacher's rows (projection, bottleneck, attention, CBAM), their
width, temperature and rate; no trial opens pixels. Prints the wall time of the command, its time per trial, the memory
of the command's process at the first tenth of the trials and at the end, and what MLflow holds of the sweep.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import yaml

from orchestrator.search.sweep_folder import ENDED
from orchestrator.tracking.mlflow_store import open_client

PROJECT = Path(__file__).resolve().parent.parent
SHEET = "jobs/experiments/nyu_coco_clip_small.yaml"
POLL_S = 0.5


def space(num_trials: int, epochs: int) -> dict[str, object]:
    """The search space, as a sheet has it."""
    return {
        "name": "heads",
        "question": "Which head, how wide, and which temperature?",
        "expected": "Nothing is expected of a benchmark.",
        "cost": "seconds for each trial",
        "parameters": {
            "student.kind": {"kind": "choice", "values": ["projection", "bottleneck", "attention", "cbam"]},
            "student.embedding_dim": {"kind": "choice", "values": [32, 64, 128]},
            "losses.matching.temperature": {"kind": "loguniform", "low": 0.1, "high": 10.0},
            "training.optimizer.learning_rate": {"kind": "loguniform", "low": 1.0e-4, "high": 1.0e-2},
        },
        "fixed": {
            "training.epochs": epochs, "training.evaluate_every_epochs": epochs,
            "training.checkpoint_every_epochs": epochs,
        },
        "objectives": {"select/all": "max"},
        "budget": {"num_trials": num_trials},
        "scheduler": {"kind": "none"},
        "searcher": {"kind": "random", "seed": 0},
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--execution", default="jobs/executions/in_process.yaml")
    parser.add_argument("--set", action="append", default=[], help="of the execution, as trials.trials_per_worker=4")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, sheet = Path(folder) / "runs", Path(folder) / "heads.yaml"
        sheet.write_text(yaml.safe_dump(space(told.trials, told.epochs)))
        changed = [f"--set={one}" for one in [f"storage_root={root}", *told.set]]
        sheets = [SHEET, "--execution", told.execution, *changed]
        chosen = ["sweep={space: " + str(sheet) + ", arm: projection}", "captioner={kind: constant, text: none}"]
        embed = [*_command("embed"), *sheets, *chosen]  # no part of a sweep
        subprocess.run(embed, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        memory = _sweep([*_command("sweep"), *sheets, *chosen], root, told.trials)
        _tell_mlflow(root)
    tenth = max(1, len(memory) // 10)
    early, late = (statistics.median(part) / 2**20 for part in (memory[:tenth], memory[-tenth:]))
    print(f"memory of the command: {early:,.0f} MiB in its first tenth, {late:,.0f} MiB in its last, peak", end=" ")
    print(f"{max(memory) / 2**20:,.0f} MiB")


def _command(stage: str) -> list[str]:
    return [str(Path(sys.executable).parent / "orchestrator"), stage]


def _sweep(command: list[str], root: Path, num_trials: int) -> list[int]:
    """Run it; the resident bytes of its process from the first ended trial on."""
    started, memory = time.perf_counter(), list[int]()
    first = 0.0
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as running:
        process = psutil.Process(running.pid)
        while running.poll() is None:
            time.sleep(POLL_S)
            ended = len(list(root.glob(f"*/sweeps/heads/{ENDED}/*.json")))
            if ended and not first:
                first = time.perf_counter()
            if ended and running.poll() is None:
                memory.append(process.memory_info().rss)
    assert running.returncode == 0, f"the sweep ended with {running.returncode}"
    wall = time.perf_counter() - started
    rest = (time.perf_counter() - first) / max(1, num_trials - 1)
    print(f"{num_trials} trials: {wall:.1f} s for the whole command, {rest:.2f} s for each trial after the first")
    return memory


def _tell_mlflow(root: Path) -> None:
    client = open_client(f"sqlite:///{next(root.rglob('mlflow.db'))}")
    runs = [
        run
        for experiment in client.search_experiments()
        for page in [client.search_runs([experiment.experiment_id], max_results=5000)]
        for run in page
    ]
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    states = Counter(run.info.status for run in trials)
    with_objective = sum("objective" in run.data.metrics for run in trials)
    print(f"MLflow: sweep {parent.info.status}, {len(trials)} children {json.dumps(states)}, ", end="")
    print(f"{with_objective} with a final objective")


if __name__ == "__main__":
    main()
