"""A version of a registered model in an MLflow store, of an export: code and files, never a pickle.

Writes to an MLflow store. The code is `pyfunc_student.py`. Imports mlflow inside functions. Knows nothing of how an
export is made.
"""

import contextlib
import os
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.artifacts.storage import read_json

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

EXPORT_TAG = "orchestrator.export"
REQUIRED = ("torch", "timm", "safetensors", "pillow", "numpy", "pandas")


def tells_classes(folder: Path) -> bool:
    """Whether an export tells classes of images, which is what the MLflow model answers."""
    config = read_json(folder / "config.json")
    return bool(config["reads"] == "image" and config["output"] != "embedding")


def expect_no_example() -> None:
    """Let MLflow log a model without an example, because the signature is given, and say nothing.

    To be called where no other thread draws or decodes: `warnings.catch_warnings` of one thread, as libraries use it,
    takes back what another thread filters in the meantime.
    """
    warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)


def known_version(client: "MlflowClient", name: str, export: str) -> str | None:
    """The newest version of the model `name` that is this export (its fingerprint); None where there is none."""
    versions = client.search_model_versions(f"name = '{name}'")
    known = [int(one.version) for one in versions if one.tags.get(EXPORT_TAG) == export]
    return str(max(known)) if known else None


def add_version(client: "MlflowClient", folder: Path, name: str, run_id: str, export: str) -> str:
    """Log the model beside a run and register it; the new version. The run itself stays as it is."""
    import mlflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, name, source_run_id=run_id)
    with tempfile.TemporaryDirectory() as place:
        mlflow.pyfunc.save_model(
            f"{place}/model",
            mlflow_model=Model(run_id=run_id, model_id=logged.model_id),
            python_model=str(Path(__file__).with_name("pyfunc_student.py")),
            artifacts={"export": str(folder)},
            signature=signature(),
            pip_requirements=[f"{one}=={version(one)}" for one in ("mlflow", *REQUIRED)],
        )
        client.log_model_artifacts(logged.model_id, f"{place}/model")
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    with contextlib.suppress(MlflowException):  # the name is there already
        client.create_registered_model(name)
    made = client.create_model_version(
        name, logged.artifact_location, run_id=run_id, tags={EXPORT_TAG: export}, model_id=logged.model_id,
        await_creation_for=0,
    )  # fmt: skip
    return str(made.version)


def signature() -> "ModelSignature":
    """What the model takes: `image`, base64 of an image file, or `path`, a file; what it gives: label, name, score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("string", "image", required=False), ColSpec("string", "path", required=False)])
    outputs = Schema(
        [ColSpec("long", "label"), ColSpec("string", "name"), ColSpec("double", "score"), ColSpec("string", "error")]
    )
    return ModelSignature(inputs=inputs, outputs=outputs)
