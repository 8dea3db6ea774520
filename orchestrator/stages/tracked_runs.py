"""What a command tells the tracker besides numbers: its sheets, its environment, its data, its fingerprints.

Writes files below the experiment's folder `tracked/` and to the tracker. Knows nothing of MLflow.
"""

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version

import yaml

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import write_bytes, write_json
from orchestrator.secrecy import redacted
from orchestrator.stages.context import Context, Plan
from orchestrator.tracking import RunStatus, TrackedDataset

PACKAGES = ("ray", "torch", "transformers", "open_clip_torch", "timm", "mlflow", "optuna", "pyarrow")
FOLDER = "tracked"


def environment() -> dict[str, str]:
    """Python, machine and the packages that numbers depend on, with their versions."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return {**found, **{name: version(name) for name in PACKAGES}}


def log_sheets(context: Context) -> None:
    """Attach the resolved experiment and execution, the environment and the command to the run of the command."""
    folder, name = context.folder / FOLDER, context.experiment.name
    sheets = {"experiment.yaml": context.experiment, "execution.yaml": context.execution}
    for file, settings in sheets.items():
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_bytes(folder / file, redacted(text).encode())
    command = redacted(" ".join(["orchestrator", *sys.argv[1:]]))
    write_json(folder / "environment.json", {**environment(), "command": command})
    for file in (*sheets, "environment.json"):
        context.tracker.log_artifact(name, folder / file)


def log_fingerprints(context: Context, plans: Mapping[str, Plan]) -> None:
    """Attach what identifies each artifact of the line, and name the data set, to the run of the command."""
    file, name = context.folder / FOLDER / "fingerprints.json", context.experiment.name
    rows = {stage: {"folder": str(plan.folder), "fingerprint": plan.identity} for stage, plan in plans.items()}
    write_json(file, rows)
    context.tracker.log_artifact(name, file)
    context.tracker.log_dataset(name, dataset_of(context, plans))


def dataset_of(context: Context, plans: Mapping[str, Plan]) -> TrackedDataset:
    """The data set as the index found it: its fingerprint, where it lies, and its counts."""
    planned, dataset = plans["index"], context.experiment.dataset
    manifest = read_manifest(planned.folder)
    source = getattr(dataset, "root", None) or dataset.kind
    return TrackedDataset(
        name=getattr(dataset, "published", None) or dataset.kind,
        digest=planned.identity[:32],
        source=source if isinstance(source, str) else ", ".join(source),
        rows={} if manifest is None else dict(manifest.counts),
    )


def status_of(error: BaseException) -> tuple[RunStatus, str]:
    """How a run ended that this error ended, and its reason on one line."""
    if not isinstance(error, Exception):  # Ctrl-C, or told to stop: the same command continues
        return "KILLED", str(error) or "interrupted"
    return "FAILED", (str(error).split("\n", 1)[0] or type(error).__name__)[:200]
