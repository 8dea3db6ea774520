"""Students on photographs under Ray Train: a baseline, class-name text, an image teacher of the same list, and both.

    python -m benchmarks.real_images --data ROOT [--storage FOLDER] [--image-size 64] [--threads 1] [--state]

ROOT holds `train.txt`, `val_select.txt`, `val_report.txt`, `classes.tsv` and what they list, in folders or tars. The
sheet is `jobs/experiments/real_images.yaml`. The image teacher is a larger network that begins with random weights here
and is made a classifier of the training list by our stage `tune`; nothing is downloaded. Learning rate and loss weights
are chosen by short trainings on `val_select.txt`; `val_report.txt` is looked at once, by the four arms at the end.
Every command resumes: a stopped one continues with the epoch it was in. Prints All, Many, Medium and Few of every arm,
seconds per epoch, and what was chosen among what. Claims no ratio: what is asked is how the arms compare.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.teachers.random_start import make_random_start

PROJECT = Path(__file__).resolve().parents[1]
SHEET = PROJECT / "jobs" / "experiments" / "real_images.yaml"
TEACHER = "resnet10t"
ARMS = ("baseline", "class_name", "image_teacher", "both")
CHOICES: tuple[tuple[str, str, tuple[float, ...]], ...] = (  # setting, arm it is chosen for, what is tried
    ("training.optimizer.learning_rate", "baseline", (1.5e-3, 3e-3, 6e-3)),
    ("losses.text.weight", "class_name", (0.1, 0.3, 1.0)),
    ("losses.image.weight", "image_teacher", (0.3, 1.0, 3.0)),
)
WITHOUT = {"baseline": ("text", "image"), "class_name": ("image",), "image_teacher": ("text",), "both": ()}


class Line:
    """The line over one data set, in one storage folder.

    Args:
        data: the folder with the lists.
        storage: where artifacts go.
        image_size: side of the views that student and teacher see, pixels.
        settings: `a.b=value` of the sheet, besides those that are chosen.
    """

    def __init__(self, data: Path, storage: Path, num_threads: int, image_size: int, settings: Sequence[str]) -> None:
        self.folder = storage / "real_images"
        start = storage / "real_images_start"
        num_classes = len((data / "classes.tsv").read_text().splitlines())
        make_random_start(TEACHER, start, num_classes, image_size)
        archives = sorted(path.name for path in data.glob("*.tar"))
        self._told = [
            f"dataset.root={data}",
            f"dataset.archives={json.dumps(archives)}",
            f"image_teacher.model={start}",
            f"image_size={image_size}",
            f"training.num_threads={num_threads}",
            f"teacher_tuning.num_threads={num_threads}",
            *settings,
        ]
        self._storage, self._num_threads = storage, num_threads

    def run(self, command: str, arms: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, float]) -> None:
        """One command of the line for these arms; what is made is reused."""
        settings = [*self._told, *(f"{name}={value}" for name, value in chosen.items()), f"arms={json.dumps(arms)}"]
        execution = ("training.num_workers=1", f"training.num_cpus_per_worker={self._num_threads}",
                     f"storage_root={self._storage}")  # fmt: skip
        flags = [part for one in execution for part in ("--set", one)]
        script = str(Path(sys.executable).parent / "orchestrator")
        sheet = ["--execution", str(PROJECT / "jobs/executions/laptop.yaml"), *flags]
        environment = {"OMP_NUM_THREADS": str(self._num_threads), **os.environ}
        subprocess.run([script, command, str(SHEET), *settings, *sheet], cwd=PROJECT, check=True, env=environment)

    def choose(self, num_epochs: int) -> dict[str, float]:
        """Each setting in turn: the value whose short training is best on the selection list."""
        chosen: dict[str, float] = {}
        for setting, arm, values in CHOICES:
            short = {
                f"choice_{arm}_{value:g}".replace(".", "_"): {**dropped(arm), setting: value,
                                                              "training.epochs": num_epochs}
                for value in values
            }  # fmt: skip
            self.run("train", short, chosen)
            found = [self.result(f"arms/{name}/result.json")["metrics"]["select/all"] for name in short]
            chosen[setting] = values[found.index(max(found))]
            told = ", ".join(f"{value:g}: {100 * accuracy:.1f}" for value, accuracy in zip(values, found, strict=True))
            print(f"{setting}: {chosen[setting]:g} chosen for {arm} on the selection list after {num_epochs} epochs "
                  f"({told} %)", flush=True)  # fmt: skip
        return chosen

    def result(self, name: str) -> Any:
        """A JSON file of the experiment."""
        return json.loads((self.folder / name).read_text())

    def state(self) -> str:
        """Where a run stands, a line for each training that has begun."""
        lines = []
        for file in sorted(self.folder.glob("*/progress.json")) + sorted(self.folder.glob("arms/*/progress.json")):
            told = json.loads(file.read_text())
            shown = {name: round(value, 4) for name, value in told.items() if name.startswith(("select/all", "speed/"))}
            lines.append(f"{file.parent.name}: epoch {told['epoch']} of {told['num_epochs']} {shown}")
        return "\n".join(lines) or f"nothing has begun in {self.folder}"

    def table(self) -> str:
        """The arms' accuracies on the report list, and seconds per epoch."""
        rows = ["| report list, percent | All | Many | Medium | Few | s/epoch (median) |", f"|{'---|' * 6}"]
        teacher = self.result("teacher_evaluation/evaluation.json")["metrics"]
        rows.append(f"| the image teacher | {_cells(teacher)} | |")
        for arm in ARMS:
            metrics = self.result(f"evaluations/{arm}/evaluation.json")["metrics"]
            seconds = statistics.median(row["speed/epoch_s"] for row in self.result(f"arms/{arm}/history.json"))
            rows.append(f"| {arm} | {_cells(metrics)} | {seconds:.1f} |")
        return "\n".join(rows)


def dropped(arm: str) -> dict[str, Any]:
    """What makes an arm of the sheet's own experiment: losses taken away."""
    return {f"losses.{name}": None for name in WITHOUT[arm]}


def _cells(metrics: Mapping[str, float]) -> str:
    return " | ".join(f"{100 * metrics[name]:.1f}" for name in ("all", "many", "medium", "few"))


def main() -> None:
    """Run, or continue, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data/tiny-imagenet-lt"), help="folder of the lists"
    )
    parser.add_argument("--storage", type=Path, default=Path("runs"), help="where everything is kept (default: runs)")
    parser.add_argument("--epochs", type=int, default=60, help="of each arm")
    parser.add_argument("--choice-epochs", type=int, default=8, help="of each short training; 0: the sheet's settings")
    parser.add_argument("--image-size", type=int, default=64, help="side of the views, pixels; it belongs to a storage")
    parser.add_argument("--threads", type=int, default=1, help="of the one worker")
    parser.add_argument("--state", action="store_true", help="say where a run stands, and do nothing")
    parser.add_argument("settings", nargs="*", help="a.b=value of the sheet")
    given = parser.parse_args()
    line = Line(given.data.resolve(), given.storage.resolve(), given.threads, given.image_size, given.settings)
    if given.state:
        print(line.state())
        return
    chosen = line.choose(given.choice_epochs) if given.choice_epochs else {}
    arms = {arm: {**dropped(arm), "training.epochs": given.epochs} for arm in ARMS}
    line.run("run", arms, chosen)
    print(line.table())
    print(f"one seed, {given.epochs} epochs, one worker of {given.threads} threads under Ray Train; chosen: {chosen}")


if __name__ == "__main__":
    main()
