"""How much of the spread of an objective each setting explains: functional ANOVA, with its own spread.

Reads and writes nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.search.proposer import distribution, inner
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult

NUM_TREES, NUM_RESAMPLES = 16, 8
FEWEST = 4  # trials below which a forest says nothing at all
ENOUGH_PER_SETTING = 5  # trials for each setting, below which there is a warning


@dataclass(frozen=True)
class Importance:
    """One setting: its share of the explained variance, 0 to 1, the range of it, and how many trials told it."""

    path: str
    share: float
    low: float
    high: float
    num_trials: int


def importances(
    results: Sequence[TrialResult], space: SearchSpace, objective: str, seed: int = 0
) -> tuple[Importance, ...]:
    """The settings' shares by fANOVA (Hutter, Hoos and Leyton-Brown 2014, as Optuna has it), largest first.

    The share is of all trials; its range is over forests of other seeds on trials drawn anew with replacement, so a
    setting that a few trials alone make important shows a wide one. Shares add up to one even where nothing matters.
    A setting that some trials lack (a condition) is judged among those that have it, beside the settings that all have.
    Nothing is told of fewer than four trials.
    """
    results = [result for result in results if space.contains(result.values)]  # not what a population moved elsewhere
    common = [path for path in space.parameters if all(path in result.values for result in results)]
    found = _of(common, common, results, space, objective, seed)
    for path in space.parameters:
        if path not in common:
            group = [result for result in results if path in result.values]
            found += _of([path], [*common, path], group, space, objective, seed)
    return tuple(sorted(found, key=lambda one: -one.share))


def _of(
    asked: Sequence[str],
    paths: Sequence[str],
    group: Sequence[TrialResult],
    space: SearchSpace,
    objective: str,
    seed: int,
) -> list[Importance]:
    if len(group) < FEWEST or not asked:
        return []
    generator = random.Random(seed)
    shares = _shares(group, paths, space, objective, seed)
    again = [
        _shares(generator.choices(group, k=len(group)), paths, space, objective, seed + number)
        for number in range(1, NUM_RESAMPLES + 1)
    ]
    return [
        Importance(path, shares[path], min(one[path] for one in again), max(one[path] for one in again), len(group))
        for path in asked
    ]


def _shares(
    group: Sequence[TrialResult], paths: Sequence[str], space: SearchSpace, objective: str, seed: int
) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if len({result.metrics[objective] for result in group}) < 2:
        return dict.fromkeys(paths, 0.0)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(
                params={path: inner(space.parameters[path], result.values[path]) for path in paths},
                distributions={path: distribution(space.parameters[path]) for path in paths},
                value=result.metrics[objective],
            )
            for result in group
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=seed)
    told = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(paths))
    return {path: float(np.nan_to_num(told.get(path, 0.0))) for path in paths}
