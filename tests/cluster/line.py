"""The line that is disturbed: its sheets, how far it has come, and what must not depend on any loss.

Three commands are disturbed, one after another, in one storage: `caption`, `sweep` and `run` (which trains). Reads the
storage. Knows nothing of clusters.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import chaos_sweep
from orchestrator.artifacts.manifest import MANIFEST_NAME
from orchestrator.artifacts.storage import read_json, read_table, write_json
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.on_ray.trial_journal import TRIALS, Journal
from orchestrator.stages.store import describe
from orchestrator.stages.verify import stores_below
from orchestrator.training.course import HISTORY, PROGRESS
from orchestrator.training.student_file import STUDENT

PROJECT = Path(__file__).resolve().parents[2]
NAME, SWEEP, SPACE = "line", "kept", "search_spaces/kept.yaml"
EXPERIMENT = [
    "jobs/experiments/smoke.yaml", f"name={NAME}", "dataset.max_count=120", "training.epochs=30",
    "training.evaluate_every_epochs=10", f"sweep.space={SPACE}", "arms={distilled: {}}",
    "captioner={kind: transformers, model: 'embedded:tiny_vlm', max_new_tokens: 40}",
]  # fmt: skip
# Two nodes of two CPUs each: what one node loses, the other has room for.
EXECUTION = {
    "tracking.kind": "none", "captioning.num_actors": 2, "captioning.batch_size": 8, "embedding.num_actors": 2,
    "training.num_workers": 2, "trials.num_workers": 2, "trials.trials_per_worker": 1, "input.num_loaders": 0,
    "captioning.num_readers": 0, "embedding.num_readers": 0,
    **{f"{part}.num_cpus_per_actor": 1 for part in ("captioning", "embedding")},
    **{f"{part}.num_cpus_per_worker": 1 for part in ("training", "trials")},
    **{f"{part}.num_gpus_per_actor": 0 for part in ("captioning", "embedding")},
    **{f"{part}.num_gpus_per_worker": 0 for part in ("training", "trials")},
}  # fmt: skip
NUM_CPUS_PER_NODE, PATIENCE_S = 2, 1800.0


def write_space(folder: Path) -> None:
    """The sheet of the sweep, below a working directory."""
    space = chaos_sweep.space_of("packed", trials=4, epochs=10)
    space = {**space, "name": SWEEP, "fixed": {"training.epochs": 10, "training.evaluate_every_epochs": 10}}
    write_json(folder / SPACE, space)  # JSON is YAML


@dataclass(frozen=True)
class Storage:
    """Where a line's results lie, as this process sees it.

    Attributes:
        work: the folder in which artifacts are made and read.
        stores: folder or URI of the teacher stores.
    """

    work: Path
    stores: str

    @classmethod
    def of_folder(cls, root: Path) -> "Storage":
        """A storage root that is a folder."""
        return cls(root, str(root / "store"))


def arguments(root: str, sheet: str, more: Mapping[str, Any] | None = None) -> list[str]:
    """The arguments of every command: experiment, execution, storage."""
    settings = {**EXECUTION, **(more or {}), "storage_root": root}
    return [*EXPERIMENT, "--execution", sheet, *(p for k, v in settings.items() for p in ("--set", f"{k}={v}"))]


@dataclass(frozen=True)
class Phase:
    """A command in which something is lost.

    Attributes:
        command: the job.
        done: how far it has come in a storage root, in units.
        moment: the loss comes when that many are done.
        unit: of what.
        folder: of the artifact, relative to the experiment's.
        title: names the processes at work.
    """

    command: str
    done: Callable[[Storage], int]
    moment: int
    unit: str
    folder: str
    title: str

    def is_over(self, storage: Storage) -> bool:
        """Whether there is nothing left to be disturbed."""
        return (storage.work / NAME / self.folder / MANIFEST_NAME).is_file()

    def working(self, processes: list[psutil.Process]) -> int:
        """How many of these processes are at this work."""
        found = 0
        for process in processes:
            try:
                found += self.title in " ".join(process.cmdline())
            except psutil.Error:
                continue
        return found


def _commits(storage: Storage) -> int:
    return sum(store.num_parts() for store in _stores(storage) if "captions" in str(store.folder))


def _trial_epochs(storage: Storage) -> int:
    folders = (storage.work / NAME / "sweeps" / SWEEP / TRIALS).glob("[0-9]*")
    return sum(Journal(folder).epoch for folder in folders)


def _epochs(storage: Storage) -> int:
    path = storage.work / NAME / "arms" / "distilled" / PROGRESS
    return int(read_json(path).get("epoch", 0)) if path.is_file() else 0


PHASES = (
    Phase("caption", _commits, 4, "micro-batches", "captions", "MapWorker"),
    Phase("sweep", _trial_epochs, 8, "epochs of trials", f"sweeps/{SWEEP}", "TrialWorker"),
    Phase("run", _epochs, 8, "epochs", "arms/distilled", "RayTrainWorker"),
)
CAPTION, TRAIN = PHASES[0], PHASES[-1]


def at_moment(
    phase: Phase, storage: Storage, lives: Callable[[], bool], work: Callable[[], list[int]] = lambda: [1]
) -> tuple[int, list[int]]:
    """Wait for the moment of a loss; returns how much is done, and how many processes are at work on each node.

    Args:
        lives: whether the command still runs.
        work: looks at the nodes; the moment has not come while nobody works.

    Raises:
        SystemExit: the command ended before, or never came so far.
    """
    until = time.monotonic() + PATIENCE_S
    while (done := phase.done(storage)) < phase.moment or not any(at_work := work()):
        if not lives() or time.monotonic() > until:
            raise SystemExit(f"{phase.command} ended, or stood still, after {done} {phase.unit}")
        time.sleep(0.1)
    if phase.is_over(storage):
        raise SystemExit(f"{phase.command} was over before it could be disturbed")
    return done, at_work


def content(storage: Storage, *, trained: bool = True) -> dict[str, str]:
    """What must not depend on any loss, part by part, as text.

    Args:
        trained: the line went on to its end, and not only to the sweep.
    """
    base = storage.work / NAME
    view = read_table(base / "captions" / "captions.parquet").select(["key", "image_id", "prompt", "caption"])
    found: dict[str, Any] = {
        "captions": view.to_pydict(),
        "sweep": chaos_sweep.content(base / "sweeps" / SWEEP),
        "best": yaml.safe_load((base / "sweeps" / SWEEP / "best.yaml").read_text()),  # remarks in it name folders
    }
    for store in _stores(storage):
        problems, _ = verify_store(store, repair=False)
        found[f"store {'/'.join(str(store.folder).split('/')[-2:])}"] = [store.digest(), problems]
    for folder in ("index", "embeddings", "shards", *(("arms/distilled", "evaluations/distilled") if trained else ())):
        files = read_json(base / folder / MANIFEST_NAME)["files"]
        kept = (".tar", ".npy", "images.parquet", "texts.parquet", "predictions.parquet", STUDENT)
        found[folder] = {name: digest for name, digest in files.items() if name.endswith(kept)}
    found["index"].pop("images.parquet")  # names the folder of its tars
    if trained:
        rows = read_json(base / "arms" / "distilled" / HISTORY)
        found["history"] = [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in rows]
    return {name: json.dumps(value, sort_keys=True) for name, value in found.items()}


def paid_twice(storage: Storage) -> int:
    """Rows of captions that went through the model more than once."""
    about = [describe(store) for store in _stores(storage) if "captions" in str(store.folder)]
    return round(sum(one["model_rows"] - one["rows"] for one in about))


def _stores(storage: Storage) -> list[TeacherStore]:
    return stores_below(storage.stores)


@dataclass
class Record:
    """What was found so far, in a file, so that an interrupted suite goes on; tells each event as it is kept."""

    path: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept = read_json(self.path) if self.path.is_file() else {}

    def __contains__(self, name: str) -> bool:
        return name in self.kept

    def keep(self, name: str, told: str, **more: Any) -> None:
        """Keep an event, and tell it."""
        self.kept[name] = {"told": told, **more}
        write_json(self.path, self.kept)
        print(told, flush=True)

    def tell_again(self) -> None:
        """Tell what was kept before."""
        for one in self.kept.values():
            print(f"(before) {one['told']}", flush=True)


def fresh(root: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    return root


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The parts in which two contents differ."""
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
