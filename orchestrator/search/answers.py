"""What a sweep says: the best configuration, the Pareto front, which settings matter, and what it cannot tell apart.

Holds plain data and pure functions. Reads and writes nothing.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.evaluation.paired import PairedDifference, paired_difference
from orchestrator.search.importance import ENOUGH_PER_SETTING, FEWEST, Importance, importances
from orchestrator.search.ranking import best_trial, candidates, pareto_front
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult

SEEDS = ("training.data_seed", "training.init_seed")
NUM_BINS, FEW_VALUES = 4, 6


@dataclass(frozen=True)
class Slice:
    """Trials with one value, or a range of values, of one setting: their mean objective and its 95 % interval.

    Attributes:
        half_width: of Student's interval; infinite for one trial.
    """

    path: str
    values: str
    num_trials: int
    mean: float
    half_width: float


@dataclass(frozen=True)
class Configuration:
    """Trials that differ in nothing but their seeds.

    Attributes:
        values: the swept values without seeds.
        trials: numbers.
        mean, half_width: of the first objective, with the half width of Student's 95 % interval.
        to_best: this minus the best configuration on the seeds both have; None for the best itself, or without two.
        verdict: best, worse, or not distinguishable.
    """

    values: Mapping[str, Any]
    trials: tuple[int, ...]
    mean: float
    half_width: float
    to_best: PairedDifference | None
    verdict: str


@dataclass(frozen=True)
class Answers:
    """What a sweep says.

    Attributes:
        best: number of the best trial by the first objective.
        values: the best configuration's: the best trial's, or where seeds were repeated those of the best mean.
        front: numbers of the trials on the Pareto front.
        importance: by objective.
        slices: of the first objective.
        configurations: best first; empty where no seeds were repeated.
        words, warnings: sentences.
    """

    objectives: Mapping[str, str]
    best: int
    values: Mapping[str, Any]
    front: tuple[int, ...]
    importance: Mapping[str, tuple[Importance, ...]]
    slices: tuple[Slice, ...]
    configurations: tuple[Configuration, ...]
    words: tuple[str, ...]
    warnings: tuple[str, ...]


def answers(results: Sequence[TrialResult], space: SearchSpace, num_images: Mapping[str, int] | None = None) -> Answers:
    """The answers of a sweep's trials. Those that were stopped early or failed tell nothing here but their number, nor
    do those whose objective is no number (accuracy of a group without classes, say).

    Args:
        num_images: how many images an objective is an accuracy over, by name, where it is one.

    Raises:
        ArtifactError: no trial reported the objectives.
    """
    told = [
        result
        for result in candidates(results, space)
        if all(math.isfinite(result.metrics[name]) for name in space.objectives)
    ]
    best = best_trial(results, space)
    importance = {objective: importances(told, space, objective) for objective in space.objectives}
    configurations = _configurations(told, space)
    values = dict(configurations[0].values) if configurations else dict(best.values)
    return Answers(
        objectives=dict(space.objectives),
        best=best.number,
        values=values,
        front=tuple(result.number for result in pareto_front(results, space)),
        importance=importance,
        slices=tuple(part for path in space.parameters for part in _slices(told, path, space.metric)),
        configurations=configurations,
        words=tuple(_words(results, told, best, space, importance, configurations, num_images or {})),
        warnings=tuple(_warnings(results, told, space, configurations)),
    )


def _slices(told: Sequence[TrialResult], path: str, objective: str) -> list[Slice]:
    with_path = [result for result in told if path in result.values]
    values = [result.values[path] for result in with_path]
    if len({json.dumps(value, sort_keys=True) for value in values}) < 2:
        return []
    groups: dict[str, list[float]] = {}
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and len(set(values)) > FEW_VALUES:
        order = np.argsort(values, kind="stable")
        for part in np.array_split(order, min(NUM_BINS, len(order))):
            name = f"{values[part[0]]:.3g} to {values[part[-1]]:.3g}"
            groups.setdefault(name, []).extend(with_path[at].metrics[objective] for at in part)
    else:
        key = (lambda at: (values[at],)) if numeric else (lambda at: (json.dumps(values[at], sort_keys=True),))
        for at in sorted(range(len(values)), key=key):
            groups.setdefault(shown(values[at]), []).append(with_path[at].metrics[objective])
    found = []
    for name, reached in groups.items():
        spread = paired_difference(reached, [0.0] * len(reached))
        found.append(Slice(path, name, len(reached), spread.mean, spread.half_width))
    return found


def _configurations(told: Sequence[TrialResult], space: SearchSpace) -> tuple[Configuration, ...]:
    seeds = [path for path in SEEDS if path in space.parameters]
    groups: dict[str, dict[str, TrialResult]] = {}
    for result in told:
        rest = {path: value for path, value in result.values.items() if path not in seeds}
        seed = json.dumps([result.values.get(path) for path in seeds])
        groups.setdefault(json.dumps(rest, sort_keys=True), {}).setdefault(seed, result)
    if not seeds or all(len(group) < 2 for group in groups.values()):
        return ()
    sign, metric = (1 if space.mode == "max" else -1), space.metric

    def mean(group: Mapping[str, TrialResult]) -> float:
        return statistics.fmean(result.metrics[metric] for result in group.values())

    most = max(len(group) for group in groups.values())  # a single seed cannot win by luck against several
    ordered = sorted(groups.items(), key=lambda item: (len(item[1]) < most, -sign * mean(item[1])))
    first = ordered[0][1]
    found = []
    for place, (_, group) in enumerate(ordered):
        reached = [result.metrics[metric] for result in group.values()]
        spread = paired_difference(reached, [0.0] * len(reached))
        shared = sorted(group.keys() & first.keys())
        to_best, verdict = None, "best" if place == 0 else "not distinguishable"
        if place and len(shared) > 1:
            mine, its = ([each[seed].metrics[metric] for seed in shared] for each in (group, first))
            to_best = paired_difference(mine, its)
            if to_best.excludes_zero:
                verdict = "worse" if sign * to_best.mean < 0 else "better on the seeds both have"
        example = next(iter(group.values())).values
        values = {path: value for path, value in example.items() if path not in seeds}
        numbers = tuple(sorted(result.number for result in group.values()))
        found.append(Configuration(values, numbers, spread.mean, spread.half_width, to_best, verdict))
    return tuple(found)


def _words(
    results: Sequence[TrialResult],
    told: Sequence[TrialResult],
    best: TrialResult,
    space: SearchSpace,
    importance: Mapping[str, Sequence[Importance]],
    configurations: Sequence[Configuration],
    num_images: Mapping[str, int],
) -> list[str]:
    reached = ", ".join(f"{name} {best.metrics[name]:.4g}" for name in space.objectives)
    found = [f"Best of {len(results)} trials is {best.number}: {reached}, with {listed(best.values)}."]
    if configurations:
        first, rest = configurations[0], configurations[1:]
        equal = [one for one in rest if one.verdict == "not distinguishable"]
        found.append(
            f"Over seeds the best is {listed(first.values)}: {first.mean:.4g} ± {first.half_width:.2g} over "
            f"{len(first.trials)}; {len(equal)} of {len(rest)} other configurations are not distinguishable from it."
        )
    elif (images := num_images.get(space.metric, 0)) and len(told) > 1:
        close = [one for one in told if one is not best and _overlaps(one, best, space.metric, images)]
        found.append(
            f"{len(close)} of {len(told) - 1} other finished trials are not distinguishable from it by the {images} "
            "images that judged them (unpaired binomial, 95 %; the chance of training comes on top)."
        )
    if len(space.objectives) > 1:
        front = pareto_front(results, space)
        found.append(f"On the Pareto front: {', '.join(str(one.number) for one in front)}.")
    for objective, settings in importance.items():
        if settings:
            first_three = ", ".join(
                f"{one.path} {100 * one.share:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"
                for one in settings[:3]
            )
            found.append(f"What {objective} varies with: {first_three}.")
    return found


def _overlaps(one: TrialResult, best: TrialResult, metric: str, images: int) -> bool:
    rates = [result.metrics[metric] for result in (one, best)]
    if not all(0 <= rate <= 1 for rate in rates):
        return False
    return abs(rates[0] - rates[1]) <= 1.96 * math.sqrt(sum(rate * (1 - rate) for rate in rates) / images)


def _warnings(
    results: Sequence[TrialResult],
    told: Sequence[TrialResult],
    space: SearchSpace,
    configurations: Sequence[Configuration],
) -> list[str]:
    found, wanted = [], ENOUGH_PER_SETTING * len(space.parameters)
    if len(told) < FEWEST:
        found.append(
            f"Only {len(told)} trials ran to their end and told numbers: too few to say which setting matters."
        )
    elif len(told) < wanted:
        found.append(
            f"Only {len(told)} trials ran to their end, for {len(space.parameters)} settings: importances are hints "
            f"below about {wanted}."
        )
    stopped = sum(result.status == "stopped" for result in results)
    if stopped and told and told[0].status == "finished":
        found.append(
            f"{stopped} stopped early are left out: importances and slices are of the better part of "
            "the space that ran to its end."
        )
    elif stopped:
        found.append("No trial ran to its end: all of this is by early readings of stopped trials.")
    if not configurations:
        found.append(
            "No configuration was trained on several seeds, and the best of many is lucky as well as good: "
            "orchestrator evidence best.yaml repeats it."
        )
    return found


def shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def listed(values: Mapping[str, Any]) -> str:
    """Values as `path value, ...`."""
    return ", ".join(f"{path} {shown(value)}" for path, value in values.items())
