"""What a line's teacher outputs will cost before they are paid for: rows, time, GPU-hours, storage, money.

For each kind of missing row a few micro-batches, spread over the data, go through the very engine the run will use;
their rows stay in the store, so that probing costs nothing twice. Writes `predictions.json`, with which the run
compares itself. Knows nothing of single back ends.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.storage import read_json, read_table, write_json
from orchestrator.artifacts.teacher_store import KEY
from orchestrator.captioners.texts import CaptionText
from orchestrator.config.execution import Execution
from orchestrator.executors.micro_batches import MicroBatches
from orchestrator.search.space import load_space
from orchestrator.stages import caption, tune
from orchestrator.stages.context import Context
from orchestrator.stages.embed_views import encoded_views, recipe_of, splits_as_they_are
from orchestrator.stages.encoded import encoded_images, encoded_texts
from orchestrator.stages.teacher_rows import Account, Job, Ran, plan_path, predictions_path, run_plan, write_plan
from orchestrator.vocabulary import SPLIT_TRAIN

SHARE, LEAST, MOST = 0.02, 6, 24  # of the micro-batches in a probe, and how many of them for each actor


@dataclass(frozen=True)
class Estimate:
    """What one kind of missing rows will cost.

    Attributes:
        unit: captions, texts, images, views.
        asked, missing, probed: rows the line wants, those that no store has now, those that the probe has made.
        seconds: wall time of the rest, from an engine that is ready, its actors' start included.
        start_s: of this, until the first actor is at work; per_micro_batch_s: inside an actor.
        gpu_hours, cpu_hours: reserved by the pool for that time.
        stored_bytes: of the rest, at the probe's bytes a row (without compaction's gain).
        usd: at the execution's prices and the endpoint's; None when there are none.
    """

    unit: str
    asked: int
    missing: int
    probed: int
    seconds: float
    start_s: float = 0.0
    per_micro_batch_s: float = 0.0
    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    stored_bytes: float = 0.0
    usd: float | None = None
    is_exact: bool = True  # the number of rows is known, not estimated

    @property
    def rest(self) -> int:
        """Rows that the run will have to make."""
        return self.missing - self.probed


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` numbers of range(count), evenly spread; all of them when there are no more."""
    if wanted >= count:
        return list(range(count))
    return [(2 * step + 1) * count // (2 * wanted) for step in range(wanted)]


def estimate(context: Context, job: Job, folder: Path) -> Estimate:
    """Probe one job; its missing rows become fewer by the probe's."""
    whole, sample = plan_path(folder), plan_path(folder)
    account = Account()
    try:
        known = tuple(name for _, name in job.store.files())  # before the plan: what comes meanwhile is news
        missing = write_plan(job, whole, account)
        if not missing:
            return Estimate(job.unit, account.asked, 0, 0, 0.0)
        batches = MicroBatches(whole)
        actors = job.pool.num_actors
        chosen = spread(len(batches), actors * min(MOST, max(LEAST, round(SHARE * len(batches) / actors))))
        probed = _write_sample(batches, chosen, sample)
        before, bytes_before = job.store.totals(), job.store.num_bytes()
        ran = run_plan(context, job, sample, probed, known, account.asked)
        compact(job.store)
        totals = job.store.totals()
        rest = len(batches) - len(chosen)
        start_s, each_s = rates(ran)
        seconds = start_s + each_s * -(-rest // min(actors, rest)) if rest else 0.0
        share = (missing - probed) / max(1, probed)
        usd = _money(context.execution, job, seconds, share * (totals.get("cost_usd", 0) - before.get("cost_usd", 0)))
        return Estimate(
            job.unit, account.asked, missing, probed, seconds, start_s, each_s,
            gpu_hours=seconds * job.pool.num_actors * job.pool.num_gpus_per_actor / 3600,
            cpu_hours=seconds * job.pool.num_actors * job.pool.num_cpus_per_actor / 3600,
            stored_bytes=share * max(0, job.store.num_bytes() - bytes_before),
            usd=usd,
        )  # fmt: skip
    finally:
        for path in (whole, sample):
            path.unlink(missing_ok=True)


def rates(ran: Ran) -> tuple[float, float]:
    """(seconds until an actor is at work, seconds of a micro-batch) from a probe's receipts.

    A micro-batch's time is the mean distance between the receipts of one actor, which holds what the engine adds to it;
    the first of each actor, which warms it up, is left out where it has more.
    """
    by_place: dict[str, list[tuple[float, float]]] = {}
    for at, took, place in ran.receipts:
        by_place.setdefault(place, []).append((at, took))
    starts, each = [], []
    for received in by_place.values():
        received.sort()
        (first, took), (last, _) = received[0], received[-1]
        starts.append(first - took)
        each.append((last - first) / (len(received) - 1) if len(received) > 1 else took)
    return max(0.0, min(starts)), statistics.mean(each)


def _write_sample(batches: MicroBatches, chosen: Sequence[int], path: Path) -> int:
    rows = 0
    with pa.ipc.new_file(path, batches[0].schema) as writer:
        for number in chosen:
            batch = batches[number].combine_chunks()
            writer.write_table(batch)
            rows += sum(len(keys) for keys in batch["keys"].to_pylist())
    return rows


def _money(execution: Execution, job: Job, seconds: float, endpoint_usd: float) -> float | None:
    prices, hours = execution.prices, seconds * job.pool.num_actors / 3600
    known = [
        hours * amount * price
        for amount, price in (
            (job.pool.num_gpus_per_actor, prices.gpu_hour_usd),
            (job.pool.num_cpus_per_actor, prices.cpu_hour_usd),
        )
        if price is not None
    ]
    return sum(known) + endpoint_usd if known or endpoint_usd else None


def estimates(context: Context, index: Path) -> list[Estimate]:
    """What captions, images and texts will cost, in the order of the line."""
    experiment = context.experiment
    captions = caption.job(context, index)
    found = [estimate(context, captions, context.folder)]
    images = read_table(index / "images.parquet")
    if (teacher := tune.teacher_of(context)) is not None:
        shown = images.filter(pc.is_in(images["split"], value_set=pa.array(splits_as_they_are(experiment))))
        found.append(estimate(context, encoded_images(context, teacher, shown).job(context), context.folder))
        if (recipe := recipe_of(experiment)) is not None:
            train = images.filter(pc.equal(images["split"], SPLIT_TRAIN))
            views = encoded_views(context, teacher, recipe, train)
            found.append(estimate(context, views.job(context), context.folder))
    if any(isinstance(text, CaptionText) for text in experiment.texts.values()):
        found.append(_texts(context, captions))
    return found


def _texts(context: Context, captions: Job) -> Estimate:
    """The captions' texts: those that are there are probed, and the distinct share of them stands for all."""
    keys = pa.concat_arrays([chunk[KEY].combine_chunks() for chunk in captions.chunks()])
    there = keys.filter(pc.is_in(keys, value_set=captions.store.done_keys()))
    if not len(there):
        return Estimate("texts", 0, 0, 0, 0.0)
    made = captions.store.read(there, ["caption"])["caption"].to_pylist()
    distinct = list(dict.fromkeys(made))
    told = estimate(
        context, encoded_texts(context, context.experiment.text_encoder, distinct).job(context), context.folder
    )
    grown = len(keys) / len(there)  # 1 when all captions are there
    if grown == 1 or not told.per_micro_batch_s:
        return told
    pool = context.execution.embedding
    missing = round(grown * len(distinct)) - (len(distinct) - told.missing)
    rest = missing - told.probed
    seconds = told.start_s + told.per_micro_batch_s * -(-rest // (pool.batch_size * pool.num_actors))
    scale = seconds / told.seconds if told.seconds else 1.0
    return replace(
        told, asked=round(grown * len(distinct)), missing=missing, seconds=seconds, is_exact=False,
        gpu_hours=told.gpu_hours * scale, cpu_hours=told.cpu_hours * scale,
        stored_bytes=told.stored_bytes * rest / max(1, told.rest),
        usd=None if told.usd is None else told.usd * scale,
    )  # fmt: skip


def write_predictions(context: Context, found: Sequence[Estimate]) -> None:
    """Leave what was predicted for the run to compare itself with."""
    path = predictions_path(context)
    old: dict[str, Any] = read_json(path) if path.is_file() else {}
    new = {e.unit: {"rows": e.rest, "seconds": round(e.seconds, 2), "is_exact": e.is_exact} for e in found if e.rest}
    write_json(path, {**old, **new})


def advice(context: Context, images: Estimate, index: Path) -> str | None:
    """Whether the image teacher's outputs are better cached, or computed while students train; None without a rate.

    Args:
        images: the estimate of images, or of views where the teacher sees views.
    """
    if not images.per_micro_batch_s:
        return None
    experiment = context.experiment
    num_views = experiment.image_teacher_views if images.unit == "views" else 1
    items = max(1, context.execution.embedding.batch_size // num_views)
    row_s = images.per_micro_batch_s / (items * num_views)
    reference = experiment.sweep
    trials = load_space(Path(reference.space)).num_trials if reference is not None else 0
    students, epochs = len(experiment.arms) + trials, experiment.training.epochs
    splits = read_table(index / "images.parquet", columns=["split"])["split"]
    seen = pc.sum(pc.equal(splits, SPLIT_TRAIN)).as_py()
    cached_s, live_s = row_s * images.missing, row_s * seen * students * epochs
    return (
        f"image teacher: {'cached' if cached_s <= live_s else 'live'} is cheaper: cached {cached_s:,.0f} s of one "
        f"actor, once ({images.missing:,} rows missing); live {live_s:,.0f} s ({students} students of {epochs} epochs "
        f"over {seen:,} training images)"
    )
