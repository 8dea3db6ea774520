"""An export registered by a command, at once: in the run that trained it, or in one of its own.

Writes to an MLflow store. Imports mlflow inside functions. What is registered while a command runs goes through the
spool instead (see `Tracker.log_model`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ConfigError
from orchestrator.tracking.mlflow_models import add_version, expect_no_example, known_version, tells_classes
from orchestrator.tracking.mlflow_runs import RUN_KEY_TAG
from orchestrator.tracking.mlflow_sink import experiment_id
from orchestrator.tracking.mlflow_store import open_client, prepare

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "exports"  # of models whose run the store does not know


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
    if not tells_classes(folder):
        config = read_json(folder / "config.json")
        raise ConfigError(
            f"--register: this student reads {config['reads']} and gives {config['output']}",
            expected="a student that tells classes of images, which is what the MLflow model answers",
        )
    expect_no_example()
    prepare(uri)
    client = open_client(uri)
    known = known_version(client, name.name, export)
    found = known or add_version(client, folder, name.name, _run(client, uri, run_key, name.name), export)
    if name.alias is not None:
        client.set_registered_model_alias(name.name, name.alias, found)
    return found, known is None


def _run(client: "MlflowClient", uri: str, run_key: str, name: str) -> str:
    """The id of the run of this key in any experiment, else of a new one."""
    if run_key:
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments, filter_string=f"tags.`{RUN_KEY_TAG}` = '{run_key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
    made = client.create_run(experiment_id(client, uri, EXPERIMENT), run_name=name)
    client.set_terminated(made.info.run_id)
    return str(made.info.run_id)
