"""`orchestrator compare` of sweeps: what each found, on which configurations they can be set against each other.

Reads finished sweeps; writes nothing. Knows nothing of HTML.
"""

import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.artifacts.manifest import Manifest, read_manifest
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.paired import PairedDifference, paired_difference
from orchestrator.reporting.sweep_comparison import SweepComparison, SweepSide
from orchestrator.search.answers import Answers
from orchestrator.search.trial import TrialResult
from orchestrator.stages import sweep_answers
from orchestrator.stages.compare import differing_settings
from orchestrator.stages.compared_sides import Side
from orchestrator.stages.sweep import read_trials


def collect_sweeps(sides: Sequence[Side]) -> SweepComparison:
    """The comparison of sweeps with the first one.

    Raises:
        ArtifactError: fewer than two sweeps, or they looked for different things.
    """
    if len(sides) < 2:
        raise ArtifactError(f"only {sides[0].name} to compare", expected="two or more sweeps")
    folders = [side.sweep for side in sides if side.sweep is not None]
    manifests = [_manifest(folder) for folder in folders]
    told = [_answers(folder) for folder in folders]
    wanted = [dict(one.objectives) for one in told]
    if any(list(one.items()) != list(wanted[0].items()) for one in wanted):
        raise ArtifactError(
            "the sweeps looked for different things: "
            + "; ".join(f"{side.name} for {', '.join(one)}" for side, one in zip(sides, wanted, strict=True)),
            expected="the same objectives in the same order",
        )
    trials = [read_trials(folder)[0] for folder in folders]
    metric, sign = next(iter(wanted[0])), 1 if next(iter(wanted[0].values())) == "max" else -1
    return SweepComparison(
        title=" against ".join(side.name for side in sides[::-1]),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        sides=tuple(_side(*each, metric, sign) for each in zip(sides, told, trials, strict=True)),
        paired=tuple(_paired(other, trials[0], metric) for other in trials[1:]),
        settings=tuple(differing_settings([manifest.settings for manifest in manifests])),
        warnings=tuple(_warnings(sides, manifests)),
        command=" ".join(["orchestrator", *sys.argv[1:]]),
    )


def _manifest(folder: Path) -> Manifest:
    found = read_manifest(folder)
    assert found is not None, "unfinished sweeps are refused when they are found"
    return found


def _answers(folder: Path) -> Answers:
    if not (folder / sweep_answers.ANSWERS).is_file():
        raise ArtifactError(
            f"{folder} has no {sweep_answers.ANSWERS}", expected="a sweep with its answers",
            remedy="orchestrator sweep EXPERIMENT.yaml writes them for a finished sweep too",
        )  # fmt: skip
    return sweep_answers.read(folder)


def _side(side: Side, told: Answers, trials: Sequence[TrialResult], metric: str, sign: int) -> SweepSide:
    best_so_far: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda one: one.number):
        if trial.status == "finished" and metric in trial.metrics:
            reached = [trial.metrics[metric], *(value for _, value in best_so_far[-1:])]
            best_so_far.append((trial.number + 1, sign * max(sign * value for value in reached)))
    best = next(trial for trial in trials if trial.number == told.best)
    counts = Counter(str(trial.status) for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    objectives = {name: best.metrics[name] for name in told.objectives}
    return SweepSide(side.name, told, dict(counts), objectives, tuple(best_so_far), seconds)


def _paired(trials: Sequence[TrialResult], others: Sequence[TrialResult], metric: str) -> PairedDifference | None:
    """On the configurations that both have, seeds included; None for fewer than two."""
    mine, theirs = (
        {
            json.dumps(dict(trial.values), sort_keys=True): trial.metrics[metric]
            for trial in each
            if trial.status == "finished" and metric in trial.metrics
        }
        for each in (trials, others)
    )
    shared = sorted(mine.keys() & theirs.keys())
    if len(shared) < 2:
        return None
    return paired_difference([mine[key] for key in shared], [theirs[key] for key in shared])


def _warnings(sides: Sequence[Side], manifests: Sequence[Manifest]) -> Iterator[str]:
    first = manifests[0]
    for side, other in zip(sides[1:], manifests[1:], strict=True):
        pair = f"{side.name} and {sides[0].name}"
        if other.parents.get("shard") != first.parents.get("shard"):
            yield f"{pair} were judged on other images or other pixels of them: objectives answer different questions."
        elif other.parents.get("embed") != first.parents.get("embed"):
            yield f"{pair} learnt from other texts or teachers; a difference may be theirs."
        if other.settings["space"].get("fixed") != first.settings["space"].get("fixed"):
            yield f"{pair} fixed other settings for their trials."
        if other.version != first.version:
            yield f"{pair} were made by versions {other.version} and {first.version}."
