"""Trials of a sweep trained together in a pack, against the same trials one after another in one warm process, and each
in a process of its own.

The student, losses and schedule are those of the evidence's arm `kd_i_t`, on fewer scenes and with teachers that hash;
trials differ in loss weights, temperature, adaptor depth and initial seed. Ways take turns in alternating order. Prints
trials per hour, processor seconds and peak memory as medians, and whether the students of all ways are the same bytes.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.config.execution import Execution
from orchestrator.config.load import arm_experiment, load_experiment, with_overrides
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import line
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.train import make_job
from orchestrator.tracking import NullTracker, TrackingSettings
from orchestrator.training.pack import train_together
from orchestrator.training.run import TrainingJob, train
from orchestrator.training.student_file import STUDENT

SHEET = Path(__file__).resolve().parent.parent / "jobs" / "experiments" / "evidence.yaml"
WAYS = ("packed", "warm", "cold")
CHANGES: dict[str, Any] = {
    "captioner": {"kind": "constant", "text": "a picture"},
    "text_encoder": {"kind": "hashed", "dim": 64},
    "image_teacher": {"kind": "hashed", "dim": 64},
    "dataset.max_count": 60,
    "dataset.imbalance_ratio": 6,
    "dataset.num_select_per_class": 4,
    "dataset.num_report_per_class": 1,
}
VIEWS = {"shift": {"kind": "shift", "pad": 6}, "augmented": {"recipe": "randclsstack"}}
Measured = tuple[float, float, int, list[str]]  # wall and processor seconds, peak KiB, digests of the students


def jobs_of(root: Path, number: int, epochs: int, student: dict[str, Any], views: str) -> list[TrainingJob]:
    """The trials, and one more that warms a process up; the artifacts they read are made below `root`."""
    changes = {
        **CHANGES, "student": student, "training.epochs": epochs, "training.evaluate_every_epochs": epochs,
        "training.checkpoint_every_epochs": epochs, "training.views": VIEWS[views],
    }  # fmt: skip
    experiment = with_overrides(load_experiment(SHEET), changes, "benchmark")
    execution = Execution(
        name="benchmark", engine="in_process", storage_root=str(root), tracking=TrackingSettings(kind="none")
    )
    context = Context(experiment, execution, NullTracker(), Feedback(quiet=True), InProcessExecutor)
    plans = line.run(context, "shard")
    jobs = []
    for trial in range(number + 1):
        swept = {
            "losses.text.weight": 0.1 * (1 + trial), "losses.image.teacher_temperature": 2.0 + trial,
            "adaptor.depth": trial % 3, "training.init_seed": trial,
        }  # fmt: skip
        arm = with_overrides(arm_experiment(experiment, "kd_i_t"), swept, "benchmark")
        jobs.append(make_job(context, arm, plans, root / "trials", f"trial/{trial}"))
    return jobs


def work(way: str, jobs: list[TrainingJob], folder: Path) -> Measured:
    """Train all but the first, which warms the process up unless each has a process of its own."""

    def at(job: TrainingJob) -> TrainingJob:
        return job.model_copy(update={"folder": str(folder / job.run_key)})

    if way != "cold":
        for _ in train(at(jobs[0])):
            pass
    wanted = [at(job) for job in jobs[1:]]
    wall, busy = time.perf_counter(), time.process_time()
    if way == "packed":
        errors = [told.error for told in train_together(wanted) if told.error]
        assert not errors, errors
    else:
        for job in wanted:
            for _ in train(job):
                pass
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    digests = [hashlib.sha256((Path(job.folder) / STUDENT).read_bytes()).hexdigest() for job in wanted]
    return wall, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, digests


def in_process_of_its_own(way: str, jobs: list[TrainingJob], folder: Path) -> Measured:
    """The same in a new process; of a cold one the start counts too."""
    folder.mkdir(parents=True)
    (folder / "jobs.json").write_text(json.dumps([job.model_dump(mode="json") for job in jobs]))
    before, started = os.times(), time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.packed_trials", "--work", way, str(folder)],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    wall, after = time.perf_counter() - started, os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    measured: Measured = tuple(json.loads(told.splitlines()[-1]))
    return (wall, busy, *measured[2:]) if way == "cold" else measured


def measure(way: str, jobs: list[TrainingJob], folder: Path) -> Measured:
    """One turn of a way."""
    if way != "cold":
        return in_process_of_its_own(way, jobs, folder)
    each = [in_process_of_its_own(way, [jobs[0], job], folder / str(at)) for at, job in enumerate(jobs[1:])]
    walls, busy, peaks, digests = zip(*each, strict=True)
    return sum(walls), sum(busy), max(peaks), [digest for (digest,) in digests]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="4,8", help="how many trials, one figure for each")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--student", default='{"kind": "timm", "name": "test_byobnet"}', help="as JSON")
    parser.add_argument("--views", choices=sorted(VIEWS), default="shift")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--work", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.work:
        way, folder = told.work[0], Path(told.work[1])
        jobs = [TrainingJob.model_validate(job) for job in json.loads((folder / "jobs.json").read_text())]
        print(json.dumps(work(way, jobs, folder)))
        return
    ways = told.ways.split(",")
    for number in map(int, told.trials.split(",")):
        with tempfile.TemporaryDirectory() as root:
            jobs = jobs_of(Path(root), number, told.epochs, json.loads(told.student), told.views)
            rows: dict[str, list[Measured]] = {way: [] for way in ways}
            for turn in range(told.turns):
                for way in ways if turn % 2 == 0 else ways[::-1]:
                    rows[way].append(measure(way, jobs, Path(root) / "turns" / f"{turn}-{way}"))
        report(number, rows)


def report(number: int, rows: dict[str, list[Measured]]) -> None:
    """Print the figures of one number of trials."""
    for way, turns in rows.items():
        wall, busy, peak = (statistics.median(row[at] for row in turns) for at in range(3))  # type: ignore[type-var]
        print(
            f"{number} trials {way}: {3600 * number / wall:,.0f} trials/h, {wall:.1f} s (processor {busy:.1f} s), "
            f"peak {peak / 1024:,.0f} MiB",
            flush=True,
        )
    for way in [way for way in rows if way != "packed" and "packed" in rows]:
        ratios = [
            [other[at] / own[at] for own, other in zip(rows["packed"], rows[way], strict=True)]  # type: ignore[operator]
            for at in (0, 1)
        ]
        wall, busy = map(statistics.median, ratios)
        print(f"{number} trials packed against {way}: {wall:.2f} x by the clock, {busy:.2f} x of processor time")
    students = {tuple(row[3]) for turns in rows.values() for row in turns}
    print(
        f"{number} trials: students of all ways {'are the same bytes' if len(students) == 1 else 'DIFFER'}", flush=True
    )


if __name__ == "__main__":
    main()
