"""A finished cell as a record: its settings' fingerprint, its numbers, when and on what it was made.

Reads a cell's manifest, evaluation and history. Knows nothing of tables.
"""

import math
import os
import platform
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.config.reproduction import SPACES, TEACHER
from orchestrator.reporting.cell_record import CellRecord
from orchestrator.stages.context import Context
from orchestrator.stages.evaluate import EVALUATION
from orchestrator.training.run import HISTORY

CPU_NAMES = Path("/proc/cpuinfo")
UNTRAINED = {  # what stands in place of an arm -> the settings that determine its numbers
    TEACHER: ("dataset", "image_teacher", "teacher_tuning", "image_size"),
    SPACES: (
        "dataset",
        "image_teacher",
        "teacher_tuning",
        "image_size",
        "captioner",
        "prompts",
        "texts",
        "text_encoder",
    ),
}
KEPT = ".kept_fraction"  # of a filter's curve, whose last value is kept with the evaluation's


def identity(experiment: Experiment, arm: str) -> str:
    """Fingerprint of what determines an arm's numbers, its seeds and the places of files apart."""
    trained = arm not in UNTRAINED
    own = arm_experiment(experiment, arm) if trained else experiment
    tree: dict[str, Any] = own.model_dump(mode="json", exclude={"name", "description", "arms", "sweep", "watch"})
    tree["dataset"] = {name: value for name, value in tree["dataset"].items() if name not in ("root", "archives")}
    if not trained:
        return fingerprint({name: tree[name] for name in UNTRAINED[arm]})
    tree["student"].pop("checkpoint", None)
    for seed in ("data_seed", "init_seed"):
        tree["training"].pop(seed)
    return fingerprint(tree)


def record(
    context: Context, scale: str, group: str, arm: str, seed: int, folder: Path, epochs: int, command: str
) -> CellRecord:
    """The record of a finished cell.

    Args:
        folder: of the cell: its manifest, evaluation and, of a student, history.
        epochs: of its training and of those it started from.
    """
    manifest = read_manifest(folder)
    assert manifest is not None, "a cell is recorded after it was finished"
    found = read_json(folder / EVALUATION)
    values = {**found["metrics"], **found.get("measures", {})}
    if (folder / HISTORY).is_file():
        last = read_json(folder / HISTORY)[-1]
        values |= {name: value for name, value in last.items() if name.endswith(KEPT)}
    return CellRecord(
        scale=scale,
        group=group,
        arm=arm,
        seed=seed,
        experiment=identity(context.experiment, arm),
        epochs=epochs,
        seconds=manifest.seconds,
        finished_utc=manifest.created_utc,
        hardware=hardware(),
        engine=context.execution.engine,
        command=command,
        version=manifest.version,
        values={name: float(value) for name, value in values.items() if math.isfinite(value)},
    )


def hardware() -> str:
    """Cores and kind of the processor, as the system tells them."""
    kinds = []
    if CPU_NAMES.is_file():
        lines = CPU_NAMES.read_text().splitlines()
        kinds = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {kinds[0] if kinds else platform.machine()}"
