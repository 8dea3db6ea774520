"""Training, and its driver under torchrun, load where only torch, timm, pydantic, pyarrow and safetensors are."""

import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = (
    "ray", "mlflow", "open_clip", "transformers", "sentence_transformers", "accelerate", "optuna", "typer", "rich",
    "pandas", "sklearn", "plotly", "jinja2", "httpx2",
)  # fmt: skip


@pytest.mark.parametrize(
    "module", ["orchestrator.training.run", "orchestrator.executors.torchrun", "jobs.train_worker"]
)
def test_the_core_imports_without_engines_trackers_and_model_hubs(module: str, project: Path) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); import {module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
