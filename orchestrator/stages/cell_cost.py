"""What cells will cost: measured seconds of an epoch times the epochs that are missing.

Reads and writes `FOLDER/SCALE/epoch_seconds.json`: processor seconds of one epoch of every measured cell, so that other
jobs on the machine do not count. Knows nothing of tables.
"""

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.config.reproduction import Scale
from orchestrator.stages import train
from orchestrator.stages.context import Context, Plan

FILE = "epoch_seconds.json"
PREPARATION = "(preparation)"  # in place of an arm: what the group's line took up to its shards, wall time


class Costs:
    """Adds up what is missing.

    Args:
        folder: of the reproductions.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        path = folder / scale / FILE
        self._measured: dict[str, float] = read_json(path) if path.is_file() else {}
        self._prepared: set[str] = set()
        self._seconds = 0.0
        self._unmeasured: list[str] = []

    def add(self, group: str, arm: str, experiment: Experiment, num_missing: int) -> str:
        """Count cells in; returns what they cost, in words."""
        if num_missing == 0 or arm not in experiment.arms:
            return ""
        if group not in self._prepared:
            self._prepared.add(group)
            self._seconds += self._measured.get(f"{group}/{PREPARATION}", 0.0)
        epoch = self._measured.get(f"{group}/{arm}")
        if epoch is None:
            self._unmeasured.append(f"{group}/{arm}")
            return ", not measured"
        cell = epoch * arm_experiment(experiment, arm).training.epochs
        self._seconds += num_missing * cell
        return f", {cell / 60:.1f} min each"

    def told(self, num_at_once: int) -> str:
        """The sum."""
        hours = self._seconds / 3600
        told = f"missing cells: {hours:.1f} h of one core, {hours / num_at_once:.1f} h with {num_at_once} at once"
        if self._unmeasured:
            told += f"; not measured: {', '.join(self._unmeasured)} (orchestrator reproduce TARGET --measure)"
        return told


def measure(
    context: Context, plans: Mapping[str, Plan], folder: Path, scale: Scale, group: str, arms: Sequence[str]
) -> None:
    """Train two epochs of each arm in a temporary folder and keep the processor time of the second."""
    from orchestrator.training.run import train as train_job

    path = folder / scale / FILE
    found: dict[str, float] = read_json(path) if path.is_file() else {}
    manifests = [read_manifest(plan.folder) for plan in plans.values()]
    found[f"{group}/{PREPARATION}"] = round(sum(one.seconds for one in manifests if one is not None), 1)
    for arm in arms:
        student = arm_experiment(context.experiment, arm).student
        fresh = {"student.checkpoint": None} if hasattr(student, "checkpoint") else {}
        experiment = arm_experiment(context.experiment, arm, fresh)
        with tempfile.TemporaryDirectory() as place:
            job = train.make_job(context, experiment, plans, Path(place), f"{group}/{arm}")
            times = [process_time()]
            for _ in itertools.islice(train_job(job), 2):
                times.append(process_time())
        found[f"{group}/{arm}"] = round(times[-1] - times[-2], 2)
        context.feedback.event("measure", f"{group}/{arm}: {found[f'{group}/{arm}']} s of processor time an epoch")
        write_json(path, found)
