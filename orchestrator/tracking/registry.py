"""An export as an MLflow model: logged beside its run, registered under a name, loaded by MLflow's own commands.

Writes to an MLflow store. The model is code and files (`pyfunc_student.py`, the export), never a pickle. Imports mlflow
inside functions. Knows nothing of how an export is made.
"""

import contextlib
import os
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ConfigError
from orchestrator.tracking.mlflow_runs import RUN_KEY_TAG
from orchestrator.tracking.mlflow_sink import experiment_id
from orchestrator.tracking.mlflow_store import open_client, prepare

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

EXPORT_TAG = "orchestrator.export"
EXPERIMENT = "exports"  # of models whose run the store does not know
REQUIRED = ("torch", "timm", "safetensors", "pillow", "numpy", "pandas")


@dataclass(frozen=True)
class RegisteredName:
    """A name in the registry, and the alias that its new version gets."""

    name: str
    alias: str | None = None


def register(uri: str, folder: Path, name: RegisteredName, *, run_key: str, export: str) -> tuple[str, bool]:
    """Register an export; the same export is registered once under a name. Returns the version and whether it is new.

    Args:
        run_key: of the run that trained it; "": unknown.
        export: fingerprint of the export.

    Raises:
        ConfigError: the export does not tell classes of images.
    """
    config = read_json(folder / "config.json")
    if config["reads"] != "image" or config["output"] == "embedding":
        raise ConfigError(
            f"--register: this student reads {config['reads']} and gives {config['output']}",
            expected="a student that tells classes of images, which is what the MLflow model answers",
        )
    prepare(uri)
    client = open_client(uri)
    known = [one for one in client.search_model_versions(f"name = '{name.name}'") if one.tags.get(EXPORT_TAG) == export]
    if known:
        found = str(max(int(one.version) for one in known))
    else:
        found = _log(client, uri, folder, name.name, run_key, export)
    if name.alias is not None:
        client.set_registered_model_alias(name.name, name.alias, found)
    return found, not known


def _log(client: "MlflowClient", uri: str, folder: Path, name: str, run_key: str, export: str) -> str:
    """Log the model in its run, or in one of its own; the new version."""
    import mlflow
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        runs = _runs(client, run_key)
        if runs:
            context = mlflow.start_run(run_id=runs[0])
        else:
            context = mlflow.start_run(experiment_id=experiment_id(client, uri, EXPERIMENT), run_name=name)
        with context as run, warnings.catch_warnings():
            # MLflow 3.17 would take the signature from type hints or an example, and warns although one is given
            warnings.simplefilter("ignore", UserWarning)
            info = mlflow.pyfunc.log_model(
                name=name,
                python_model=str(Path(__file__).with_name("pyfunc_student.py")),
                artifacts={"export": str(folder)},
                signature=signature(),
                pip_requirements=[f"{one}=={version(one)}" for one in ("mlflow", *REQUIRED)],
            )
        with contextlib.suppress(MlflowException):  # the name is there already
            client.create_registered_model(name)
        made = client.create_model_version(
            name, info.model_uri, run_id=run.info.run_id, tags={EXPORT_TAG: export}, model_id=info.model_id,
            await_creation_for=0,
        )  # fmt: skip
        return str(made.version)
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
        if before[2] is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


def signature() -> "ModelSignature":
    """What the model takes: `image`, base64 of an image file, or `path`, a file; what it gives: label, name, score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("string", "image", required=False), ColSpec("string", "path", required=False)])
    outputs = Schema(
        [ColSpec("long", "label"), ColSpec("string", "name"), ColSpec("double", "score"), ColSpec("string", "error")]
    )
    return ModelSignature(inputs=inputs, outputs=outputs)


def _runs(client: "MlflowClient", run_key: str) -> list[str]:
    if not run_key:
        return []
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, filter_string=f"tags.`{RUN_KEY_TAG}` = '{run_key}'", max_results=1)
    return [run.info.run_id for run in found]
