"""The console script on the smoke experiment as a child process, and what it leaves on disk.

Starts processes. Knows nothing of single tests.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts.storage import read_json
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.stages.verify import stores_below
from tests.smoke_line import PROJECT

SCRIPT = Path(sys.executable).parent / "orchestrator"


@dataclass(frozen=True)
class Smoke:
    """The smoke experiment with a storage root of its own."""

    root: Path

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.root / "smoke"

    def arguments(self, *extra: str) -> list[str]:
        """The whole command."""
        sheets = ["jobs/experiments/smoke.yaml", "--execution", "jobs/executions/in_process.yaml"]
        return [str(SCRIPT), "run", *sheets, "--set", f"storage_root={self.root}", *extra]

    def run(self, *extra: str) -> subprocess.CompletedProcess[str]:
        """The command to its end."""
        return subprocess.run(self.arguments(*extra), cwd=PROJECT, capture_output=True, text=True, check=False)

    def start(self) -> subprocess.Popen[bytes]:
        """The command, running."""
        return subprocess.Popen(self.arguments(), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stores(self) -> dict[str, TeacherStore]:
        """Every teacher store, by its path below the root."""
        return {str(Path(str(store.folder)).relative_to(self.root)): store for store in stores_below(str(self.root))}

    def model_rows(self) -> dict[str, float]:
        """What each store has cost."""
        return {name: store.totals()["model_rows"] for name, store in self.stores().items()}

    def numbers(self) -> dict[str, object]:
        """All evaluations and the sweep's values and selection accuracies."""
        found: dict[str, object] = {
            arm: read_json(self.folder / "evaluations" / arm / "evaluation.json") for arm in ("baseline", "distilled")
        }
        trials = read_json(self.folder / "sweeps" / "smoke" / "trials.json")
        found["best"] = trials["best"]
        found["trials"] = [
            (trial["number"], trial["status"], trial["epochs"], trial["values"], trial["metrics"]["select/all"])
            for trial in trials["trials"]
        ]
        return found


def verify(folder: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """`orchestrator verify`."""
    return subprocess.run(
        [str(SCRIPT), "verify", str(folder), *extra], cwd=PROJECT, capture_output=True, text=True, check=False
    )
