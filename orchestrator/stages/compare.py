"""`orchestrator compare`: two or more students beside each other, on the images that all of them saw.

Reads finished artifacts; `collect` gives the data of the page. Knows nothing of HTML.
"""

import datetime
import json
import math
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.artifacts.storage import read_table
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.paired import (
    Interval,
    bootstrap_accuracy,
    class_winners,
    mcnemar,
    paired_difference,
)
from orchestrator.reporting.comparison import COMPARED, Comparison, Difference, SettingRow, SideResult
from orchestrator.reporting.data import ArmResult, ClassResult
from orchestrator.stages.compared_sides import Member, Side

Shares = npt.NDArray[np.float64]
SHOWN_IDS = 3  # images named in an error
OF_SPEED = "speed/"


def collect(sides: Sequence[Side], confidence: float = 0.95) -> Comparison:
    """The comparison of students with the first side.

    Raises:
        ArtifactError: the sides cannot be compared: other classes, other images in the report split, other labels.
    """
    if len(sides) < 2:
        raise ArtifactError(
            f"only {sides[0].name if sides else 'nothing'} to compare", expected="two or more arms, cells or sweeps"
        )
    members = [member for side in sides for member in side.members]
    _refuse_other_data(members)
    names = read_table(members[0].home / "index" / "classes.parquet")["name"].to_pylist()
    trained = np.asarray(members[0].evaluation["train_count"])
    results = [_side(side, names, trained, confidence) for side in sides]
    predictions = members[0].predictions
    return Comparison(
        title=" against ".join(side.name for side in sides[::-1]),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        sides=tuple(results),
        differences=tuple(_difference(side, sides[0], trained, confidence) for side in sides[1:]),
        settings=tuple(differing_settings([settings_of(side.members[0]) for side in sides])),
        warnings=tuple(_warnings(sides)),
        notes=tuple(side.note for side in sides if side.note),
        num_images=0 if predictions is None else predictions.num_rows,
        command=" ".join(["orchestrator", *sys.argv[1:]]),
        confidence=confidence,
    )


def _refuse_other_data(members: Sequence[Member]) -> None:
    """The report split and the classes must be the same: else a difference is one of the questions asked."""
    first, rest = members[0], members[1:]
    classes = read_table(first.home / "index" / "classes.parquet")
    for other in rest:
        others = read_table(other.home / "index" / "classes.parquet")
        same_groups = ClassGroups.of_table(others) == ClassGroups.of_table(classes)
        if not same_groups or not others["name"].equals(classes["name"]):
            raise ArtifactError(
                f"{first.trained} and {other.trained} tell other classes apart",
                expected="the same classes, and the same of them unseen in training",
            )
        mine, theirs = first.predictions, other.predictions
        if mine is None or theirs is None:
            if first.evaluation["total"] != other.evaluation["total"]:
                raise ArtifactError(f"{first.evaluated} and {other.evaluated} have report splits of other sizes")
            continue
        if not mine.select(["image_id", "label"]).equals(theirs.select(["image_id", "label"])):
            known = dict(zip(mine["image_id"].to_pylist(), mine["label"].to_pylist(), strict=True))
            found = dict(zip(theirs["image_id"].to_pylist(), theirs["label"].to_pylist(), strict=True))
            relabelled = sorted(one for one in known.keys() & found.keys() if known[one] != found[one])
            alone = sorted(known.keys() ^ found.keys())
            raise ArtifactError(
                f"the report splits of {first.trained} and {other.trained} differ: {len(alone)} images are only in one "
                f"({', '.join(alone[:SHOWN_IDS])}), {len(relabelled)} have another label",
                expected="both evaluated on the same images",
                remedy="evaluate both on one data set",
            )


def _side(side: Side, names: Sequence[str], trained: npt.NDArray[Any], confidence: float) -> SideResult:
    members = side.members
    metrics = {
        name: 100 * statistics.fmean(member.evaluation["metrics"].get(name, math.nan) for member in members)
        for name in COMPARED
    }
    correct = np.sum([member.evaluation["correct"] for member in members], axis=0)
    total = np.sum([member.evaluation["total"] for member in members], axis=0)
    per_class = tuple(
        ClassResult(label, name, int(trained[label]), 100 * correct[label] / total[label] if total[label] else math.nan)
        for label, name in enumerate(names)
    )
    right, labels = _right(members), _labels(members[0])
    intervals = {}
    if right is not None and labels is not None:
        found = bootstrap_accuracy(right, labels, trained, confidence=confidence)
        intervals = {name: _percent(interval) for name, interval in found.items()}
    losses = members[0].manifest.settings["losses"]
    told = ", ".join(f"{name} ({loss['kind']}, weight {loss['weight']:.3g})" for name, loss in losses.items())
    arm = ArmResult(side.name, metrics, per_class, _curves(members), f"losses: {told}")
    measures = {
        name: statistics.fmean(member.evaluation["measures"].get(name, math.nan) for member in members)
        for name in members[0].evaluation["measures"]
    }
    seeds = tuple(member.seed for member in members if member.seed is not None)
    return SideResult(arm, intervals, measures, seeds)


def _curves(members: Sequence[Member]) -> dict[str, tuple[tuple[float, float], ...]]:
    """Means over the members of each metric by epoch; not of speeds, which say nothing of students."""
    points: dict[str, dict[float, list[float]]] = {}
    for member in members:
        for row in member.history:
            for name, value in row.items():
                if name != "epoch" and not name.startswith(OF_SPEED) and math.isfinite(value):
                    points.setdefault(name, {}).setdefault(row["epoch"], []).append(value)
    return {
        name: tuple((epoch, statistics.fmean(values)) for epoch, values in sorted(by_epoch.items()))
        for name, by_epoch in points.items()
    }


def _difference(side: Side, reference: Side, trained: npt.NDArray[Any], confidence: float) -> Difference:
    mine, theirs = _paired(side.members, reference.members)
    over_seeds = {}
    if len(mine) > 1 and mine[0].seed is not None:
        for name in COMPARED:
            values, references = (
                [100 * member.evaluation["metrics"].get(name, math.nan) for member in members]
                for members in (mine, theirs)
            )
            over_seeds[name] = paired_difference(values, references, confidence)
    right, reference_right, labels = _right(mine), _right(theirs), _labels(reference.members[0])
    if right is None or reference_right is None or labels is None:
        return Difference(side.name, over_seeds=over_seeds)
    found = bootstrap_accuracy(right - reference_right, labels, trained, confidence=confidence)
    over_images = {name: _percent(interval) for name, interval in found.items()}
    if len(mine) > 1 or len(theirs) > 1:
        return Difference(side.name, over_images, over_seeds)
    counts = mcnemar(right > 0, reference_right > 0)
    winners = class_winners(right > 0, reference_right > 0, labels, confidence)
    return Difference(side.name, over_images, over_seeds, *counts, tuple(winners))


def _paired(mine: Sequence[Member], theirs: Sequence[Member]) -> tuple[Sequence[Member], Sequence[Member]]:
    """The members of both on the seeds that both have; all of them where they share none."""
    mine_by, theirs_by = ({one.seed: one for one in members} for members in (mine, theirs))
    shared = sorted(seed for seed in mine_by.keys() & theirs_by.keys() if seed is not None)
    return ([mine_by[seed] for seed in shared], [theirs_by[seed] for seed in shared]) if shared else (mine, theirs)


def _right(members: Sequence[Member]) -> Shares | None:
    """[N] share of the members that are right on each image; None where predictions were not kept."""
    tables = [member.predictions for member in members]
    if any(table is None for table in tables):
        return None
    each = [table["predicted"].to_numpy() == table["label"].to_numpy() for table in tables if table is not None]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _labels(member: Member) -> npt.NDArray[np.int64] | None:
    return None if member.predictions is None else member.predictions["label"].to_numpy().astype(np.int64)


def _percent(interval: Interval) -> Interval:
    return replace(interval, value=100 * interval.value, low=100 * interval.low, high=100 * interval.high)


def settings_of(member: Member) -> dict[str, Any]:
    """The tree of every setting behind a student: its training, and the data and teachers where they lie there."""
    tree: dict[str, Any] = dict(member.manifest.settings)
    for name, stage in (("data", "index"), ("embed", "embeddings")):
        if (manifest := member.stage(stage)) is not None:
            tree[name] = manifest.settings
    return tree


def differing_settings(sides: Sequence[Any], path: str = "") -> Iterator[SettingRow]:
    """The settings in which the sides do not all have the same value, in order of their dotted paths.

    What a side has nothing of (a loss, say) is one row, however many settings the others have there.
    """
    if all(isinstance(side, Mapping) for side in sides):
        for name in sorted({name for side in sides for name in side}):
            here = f"{path}.{name}" if path else name
            yield from differing_settings([side.get(name, _NOTHING) for side in sides], here)
    elif any(side != sides[0] for side in sides):
        yield SettingRow(path, tuple(_as_text(side) for side in sides))


_NOTHING = object()


def _as_text(value: Any) -> str:
    return "" if value is _NOTHING else value if isinstance(value, str) else json.dumps(value)


def _warnings(sides: Sequence[Side]) -> Iterable[str]:
    first = sides[0].members[0]
    every = [member for side in sides for member in side.members]
    if any(member.predictions is None for member in every):
        lacking = [side.name for side in sides if any(member.predictions is None for member in side.members)]
        yield (
            f"No predictions were kept of {', '.join(lacking)}, so nothing is compared image by image; evaluate again "
            "with --rebuild evaluate."
        )
    for side in sides[1:]:
        other, pair = side.members[0], f"{side.name} and {sides[0].name}"
        if other.evaluation["train_count"] != first.evaluation["train_count"]:
            yield (
                f"{pair} were trained on other numbers of images; groups of classes are by the counts of "
                f"{sides[0].name}, and a difference may be one of data."
            )
        elif _of_shards(other) != _of_shards(first):
            yield f"{pair} were trained on other images or other pixels of them; a difference may be one of data."
        for what in ("evaluation", "split"):
            if other.protocol.get(what) != first.protocol.get(what):
                yield f"{pair} were evaluated by other settings ({what}); measures may not be comparable."
        if other.evaluation["epochs_averaged"] != first.evaluation["epochs_averaged"]:
            yield f"Accuracies of {pair} are means over other numbers of last epochs; predictions are the last one's."
        if other.manifest.version != first.manifest.version:
            yield f"{pair} were made by versions {other.manifest.version} and {first.manifest.version}."
        if other.manifest.fingerprint == first.manifest.fingerprint:
            yield f"{pair} have the same settings and parents: they are the same training."
        mine, theirs = ({one.seed for one in each.members} for each in (side, sides[0]))
        if mine != theirs:
            shared = len(mine & theirs - {None})
            told = f"over the {shared} seeds that both have" if shared else "of means over other seeds, not paired"
            yield f"{pair} were trained on other seeds; differences are {told}."


def _of_shards(member: Member) -> str:
    return member.manifest.parents.get("shard", "")
