"""Which trials of a sweep are best: one by one objective, a Pareto front by several.

Reads and writes nothing.
"""

import math
from collections.abc import Sequence

from orchestrator.errors import ArtifactError
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult


def candidates(results: Sequence[TrialResult], space: SearchSpace) -> list[TrialResult]:
    """The trials that can be best: those that reported every objective and ran to their end.

    A stopped one cannot win by an early reading; only where none ran to its end those that were stopped count.
    """
    told = [result for result in results if result.status in ("finished", "stopped") and _points(result, space)]
    return [result for result in told if result.status == "finished"] or told


def best_trial(results: Sequence[TrialResult], space: SearchSpace) -> TrialResult:
    """The best candidate by the first objective; ties go to the further ones, then to the smallest number.

    Raises:
        ArtifactError: no trial reported the objectives.
    """
    found = candidates(results, space)
    if not found:
        raise ArtifactError(
            f"no trial reported {', '.join(space.objectives)}", expected="metrics that a training tells"
        )
    return max(found, key=lambda result: (*_points(result, space), -result.number))


def pareto_front(results: Sequence[TrialResult], space: SearchSpace) -> list[TrialResult]:
    """The candidates that no other one beats: as good in every objective and better in one; by number."""
    points = [(result, _points(result, space)) for result in candidates(results, space)]
    return [result for result, own in points if not any(_beats(other, own) for _, other in points)]


def _points(result: TrialResult, space: SearchSpace) -> tuple[float, ...]:
    """What a trial reached, the higher the better, NaN as the worst; empty where an objective is missing."""
    if not all(name in result.metrics for name in space.objectives):
        return ()
    signed = [result.metrics[name] * (1 if mode == "max" else -1) for name, mode in space.objectives.items()]
    return tuple(-math.inf if math.isnan(value) else value for value in signed)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= its for mine, its in zip(one, other, strict=True))
