"""The report's part on costs: what teachers' rows cost and what the store saved, exports, seeds and licences.

Reads manifests, ledgers of the stores and finished exports. Writes nothing. Knows nothing of HTML.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.config.execution import ActorPoolSettings, PriceSettings
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.exporting.bundle import read_config
from orchestrator.reporting.sections import Export, Licence, PaidRows
from orchestrator.stages import caption, sweep
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.export import MEASURED, models_of, read_models
from orchestrator.stages.finished_student import Source
from orchestrator.training.student_file import STUDENT

EXPORTS = "exports"


def economics(context: Context, plans: Mapping[str, Plan]) -> tuple[PaidRows, ...]:
    """Captions, texts, images and views, as their stages counted them; rates are those of the stores' ledgers."""
    execution, trainings = context.execution, _trainings(context, plans)
    found: list[PaidRows] = []

    def add(
        unit: str, part: str, store: TeacherStore, pool: ActorPoolSettings, counts: tuple[int, int, int, int]
    ) -> None:
        seconds, usd = rates(store, pool, execution.prices)
        found.append(PaidRows(unit, *counts, seconds, usd, without_store=counts[0] * trainings.get(part, 0)))

    if (manifest := read_manifest(plans["caption"].folder)) is not None:
        asked, done, reused, refused = (manifest.counts[name] for name in ("asked", "done", "reused", "quarantined"))
        store = caption.caption_store(context)
        add("captions", "captioner", store, execution.captioning, (asked, done, reused, refused))
    if (manifest := read_manifest(plans["embed"].folder)) is not None:
        embeddings, counts = Embeddings(plans["embed"].folder), manifest.counts
        for unit, part, name in (
            ("texts", "text encoder", "texts"),
            ("images", "image teacher", "images/"),
            ("views", "image teacher", "views/"),
        ):
            array = next((one for one in embeddings.header.arrays if one.startswith(name)), None)
            if array is not None and unit in counts:
                made = counts[f"{unit}_embedded"]
                asked = max(counts[unit], made)  # class texts are embedded with the others
                add(unit, part, embeddings.store(array), execution.embedding, (asked, made, asked - made, 0))
    return tuple(found)


def rates(store: TeacherStore, pool: ActorPoolSettings, prices: PriceSettings) -> tuple[float, float]:
    """(seconds, USD) of a row, means over all that the store has paid for; nan: nothing was, or no price is told."""
    totals = store.totals()
    if not totals["done"]:
        return math.nan, math.nan
    seconds, endpoint = totals["seconds"] / totals["done"], totals.get("cost_usd", 0.0) / totals["done"]
    priced = (
        (pool.num_gpus_per_actor, prices.gpu_hour_usd),
        (pool.num_cpus_per_actor, prices.cpu_hour_usd),
    )
    known = [seconds / 3600 * amount * price for amount, price in priced if price is not None]
    return seconds, sum(known) + endpoint if known or endpoint else math.nan


def _trainings(context: Context, plans: Mapping[str, Plan]) -> dict[str, int]:
    """Part -> how many trainings (arms, and a sweep's trials) read its rows."""
    found: dict[str, int] = {}
    for arm, experiment in _arms(context):
        count = 1
        if context.experiment.sweep is not None and context.experiment.sweep.arm == arm and "sweep" in plans:
            count += len(sweep.read_trials(plans["sweep"].folder)[0])
        for part, _ in read_models(experiment):
            found[part] = found.get(part, 0) + count
    return found


def _arms(context: Context) -> Iterator[tuple[str, Experiment]]:
    for arm in context.experiment.arms:
        yield arm, arm_experiment(context.experiment, arm)


def exports(context: Context, plans: Mapping[str, Plan]) -> tuple[Export, ...]:
    """The arms' exports in the experiment's own folder that are of the very students reported."""
    found = []
    for arm in exported(context, plans):
        folder = context.folder / EXPORTS / arm
        config, measured = read_config(folder), read_json(folder / MEASURED)
        speed = measured["speed"]
        parity = {}
        if config.compared_on:
            parity["weights"] = (
                f"outputs differ from the trained student's by at most {config.max_abs_difference:.3g}, on "
                f"{config.compared_on}"
            )
        relative = [value for name, value in measured["onnx"].items() if name.endswith(" relative")]
        if relative:
            parity["ONNX"] = f"outputs differ by at most {max(relative):.3g} of the greatest number"
        if "agreement" in measured["int8"]:
            parity["int8"] = f"chooses the same class for {100 * measured['int8']['agreement']:.1f} % of the images"
        found.append(
            Export(
                arm, f"{EXPORTS}/{arm}", parity, speed.get("forms", {}), speed.get("machine", ""),
                speed.get("num_parameters", 0), speed.get("macs", 0),
            )
        )  # fmt: skip
    return tuple(found)


def exported(context: Context, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Arm -> fingerprint of its export, where there is one of this very training."""
    found = {}
    for arm in context.experiment.arms:
        manifest = read_manifest(context.folder / EXPORTS / arm)
        trained = plans.get(f"train/{arm}")
        if manifest is not None and trained is not None:
            weights = read_manifest(trained.folder)
            if weights is not None and manifest.parents["weights"] == weights.files[STUDENT]:
                found[arm] = manifest.fingerprint
    return found


def licences(context: Context, plans: Mapping[str, Plan]) -> tuple[Licence, ...]:
    """Every model that an arm learnt from or began with, once."""
    found: dict[tuple[str, str], Licence] = {}
    for arm, experiment in _arms(context):
        for one in models_of(Source(plans[f"train/{arm}"].folder / STUDENT, experiment), {}):
            found.setdefault((one.part, one.model), Licence(one.part, one.model, one.licence))
    return tuple(found.values())


def seeds(settings: Any, path: str = "") -> dict[str, int]:
    """Every seed of a tree of settings, by dotted path."""
    if isinstance(settings, Mapping):
        found: dict[str, int] = {}
        for name, value in settings.items():
            place = f"{path}.{name}" if path else str(name)
            is_seed = name == "seed" or str(name).endswith("_seed")
            found |= {place: value} if is_seed and isinstance(value, int) else seeds(value, place)
        return found
    return {}
