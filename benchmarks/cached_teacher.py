"""Training steps with a kept image teacher of four views, with the same teacher live, and with none, interleaved.

Student, batches, views and losses are those of the evidence's arm `kd_i`; the teacher is the embedded CLIP and sees the
very view that the student sees. The live teacher is timed twice: as a training has to run it (it reads, decodes and
renders its pictures, then looks), and its look alone (pictures ready in memory), which no loader can save.
Prints the least cosine between kept and live rows, images/s as medians, and after how many epochs keeping has paid.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from orchestrator.config.execution import Execution
from orchestrator.config.load import arm_experiment, load_experiment, with_overrides
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import embed, index, line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.embed_views import recipe_of
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.train import make_job
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.tracking import NullTracker, TrackingSettings
from orchestrator.training.assembly import build_model
from orchestrator.training.data import TeacherData, load_split, load_teacher
from orchestrator.training.draws import image_keys
from orchestrator.training.loop import Trainer
from orchestrator.training.order import Place
from orchestrator.training.teacher_views import LiveTeacher

SHEET = Path(__file__).resolve().parent.parent / "jobs" / "experiments" / "evidence.yaml"
NUM_VIEWS, BATCH, STEPS, WARMUP = 4, 64, 40, 4
CHANGES = {
    "captioner": {"kind": "constant", "text": "a picture"},
    "image_teacher_views": NUM_VIEWS,
    "dataset.max_count": 40,
    "dataset.imbalance_ratio": 5,
    "dataset.num_select_per_class": 1,
    "dataset.num_report_per_class": 1,
    "training.batch_size": BATCH,
}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        experiment = with_overrides(load_experiment(SHEET), CHANGES, "benchmark")
        execution = Execution(
            name="benchmark", engine="in_process", storage_root=folder, tracking=TrackingSettings(kind="none")
        )
        context = Context(experiment, execution, NullTracker(), Feedback(quiet=True), InProcessExecutor)
        plans = line.run(context, "caption")
        context.experiment = with_overrides(experiment, {"image_teacher_views": 0}, "benchmark")
        plans["embed"] = embed.make(context, plans)  # texts and other images, so that the next one makes views only
        context.experiment = experiment
        started = time.perf_counter()
        plans["embed"] = embed.make(context, plans)
        made_s = time.perf_counter() - started
        plans |= line.run(context, "shard")
        run(context, plans, Path(folder), made_s)


def run(context: Context, plans: dict[str, Plan], folder: Path, made_s: float) -> None:
    """The three trainings on the finished artifacts."""
    jobs = {
        arm: make_job(context, arm_experiment(context.experiment, arm), plans, folder / arm, arm)
        for arm in ("kd_i", "baseline")
    }
    images = load_split(plans["shard"].folder, "train")
    kept = load_teacher(plans["embed"].folder, ())
    live = live_teacher(context)
    rows = np.arange(min(256, len(images.labels)))
    least = min(
        float((np.asarray(kept.image_rows(rows, view)[EMBEDDING]) * live(rows, view)[EMBEDDING]).sum(1).min())
        for view in range(NUM_VIEWS)
    )

    def trainer(arm: str, teacher: TeacherData | None) -> Trainer:
        counts = tuple(np.bincount(images.labels, minlength=jobs[arm].num_classes).tolist())
        model = build_model(jobs[arm], counts, kept.dims)
        return Trainer(model.train(), jobs[arm].training, images, teacher, device=torch.device("cpu"))

    trainers = {
        "no teacher": trainer("baseline", None),
        "kept": trainer("kd_i", kept),
        "live": trainer("kd_i", replace(kept, live=live)),
    }
    generator = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in (*trainers, "look")}
    for step in range(STEPS + WARMUP):
        batch = generator.permutation(len(images.labels))[:BATCH]
        for name, one in trainers.items():
            seconds[name].append(timed(one_step, one, batch, step))
        seconds["look"].append(timed(live.encode, live.pictures(batch, step)))
    median = {name: statistics.median(values[WARMUP:]) for name, values in seconds.items()}
    count = NUM_VIEWS * len(images.labels)
    print(f"kept against live rows, {len(rows)} images x {NUM_VIEWS} views: least cosine {least:.7f}")
    print("; ".join(f"{name} {BATCH / median[name]:.0f} images/s" for name in trainers))
    at_least = median["kept"] + median["look"]
    print(
        f"kept / live {median['live'] / median['kept']:.2f}; kept / none {median['no teacher'] / median['kept']:.3f}; "
        f"with the live teacher's pictures ready in memory still {at_least / median['kept']:.2f} "
        f"(medians of {STEPS} interleaved steps of {BATCH}, one thread)"
    )
    saved = (median["live"] - median["kept"]) / BATCH * len(images.labels)
    print(
        f"making {count} rows took {made_s:.1f} s ({count / made_s:.0f} views/s with the encoder's start); an epoch of "
        f"{len(images.labels)} images saves {saved:.2f} s: paid after {made_s / saved:.1f} epochs of one training"
    )


def one_step(trainer: Trainer, rows: np.ndarray, epoch: int) -> None:
    """A batch and a step with it."""
    trainer.step(trainer.make_batch(rows, Place(epoch, 0)), rows)


def timed(action: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def live_teacher(context: Context) -> LiveTeacher:
    """The experiment's image teacher, looking at the views of its training images."""
    recipe, teacher = recipe_of(context.experiment), context.experiment.image_teacher
    assert recipe is not None
    assert teacher is not None
    found = index.load(context).images
    train = found.filter(pc.equal(found["split"], "train"))
    addresses = list(zip(*(train[name].to_pylist() for name in ("path", "offset", "size")), strict=True))
    keys = image_keys(train["image_id"].to_pylist())
    return LiveTeacher(teacher.build_image(), addresses, keys, recipe)


if __name__ == "__main__":
    main()
