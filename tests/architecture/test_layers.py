"""The layers of the architecture, checked by import-linter exactly as `make lint` does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path


def _layers(project: Path) -> list[str]:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c["id"] == "layers"]
    return [module.strip() for line in contract["layers"] for module in re.split("[|:]", line)]


def test_every_import_goes_down_the_layers_and_ray_and_mlflow_stay_in_their_folders(project: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=project, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_top_level_module_has_its_place_in_the_layers(project: Path) -> None:
    package = project / "orchestrator"
    found = {f"orchestrator.{path.stem}" for path in package.glob("*.py") if not path.stem.startswith("__")}
    found |= {f"orchestrator.{path.parent.name}" for path in package.glob("*/__init__.py")}
    assert found - set(_layers(project)) == set()


def test_every_folder_with_python_files_is_a_package_and_so_gets_shipped(project: Path) -> None:
    folders = {path.parent for path in (project / "orchestrator").rglob("*.py")}
    missing = sorted(str(f.relative_to(project)) for f in folders if not (f / "__init__.py").is_file())
    assert missing == []
