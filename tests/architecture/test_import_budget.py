"""`--help`, validation and listings are instant: configuration and command line load none of the heavy libraries."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("ray", "mlflow", "transformers", "sentence_transformers", "timm", "open_clip", "torch")


@pytest.mark.parametrize("module", ["orchestrator.config", "orchestrator.cli"])
def test_importing_loads_no_heavy_library(module: str, project: Path) -> None:
    code = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
