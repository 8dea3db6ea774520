"""The best trial is a whole one; a front is what nothing beats."""

import math

import pytest

from orchestrator.errors import ArtifactError
from orchestrator.search.ranking import best_trial, pareto_front
from orchestrator.search.trial import Status, TrialResult
from tests.unit.search.spaces import NONE, ended, space


def trial(number: int, value: float, status: Status = "finished") -> TrialResult:
    return ended(number, {"x": number}, value, status=status)


def test_the_best_trial_is_the_best_of_those_that_ran_to_their_end() -> None:
    results = [trial(0, 0.4), trial(1, 0.9, "stopped"), trial(2, 0.5), trial(3, math.nan), trial(4, 0.5)]
    assert best_trial(results, space()).number == 2  # not the stopped 1, not the NaN 3, and of equals the first
    assert best_trial(results, space(objectives={"select/all": "min"})).number == 0


def test_failed_trials_never_win_and_stopped_ones_only_when_there_is_no_other() -> None:
    failed = ended(0, {}, 0.99, status="failed", error="died")
    silent = ended(1, {}, 0, metrics={})
    assert best_trial([failed, silent, trial(2, 0.1)], space()).number == 2
    assert best_trial([failed, silent, trial(3, 0.2, "stopped"), trial(4, 0.3, "stopped")], space()).number == 4


def test_when_no_trial_reported_the_metric_the_sweep_says_so() -> None:
    with pytest.raises(ArtifactError, match="no trial reported select/all"):
        best_trial([ended(0, {}, 0, metrics={"train/loss": 1.0})], space())


def test_a_front_holds_what_nothing_beats_and_its_first_objective_chooses() -> None:
    found = space(objectives={"select/few": "max", "cost/model_size_mb": "min"}, scheduler=NONE)
    reached = [(0.5, 9), (0.4, 3), (0.4, 4), (0.1, 1), (0.5, 9), (0.6, 20), (0.3, 3), (math.nan, 0.5), (0.05, 2)]
    results = [
        ended(n, {}, 0, metrics={"select/few": few, "cost/model_size_mb": mb}) for n, (few, mb) in enumerate(reached)
    ]
    assert [result.number for result in pareto_front(results, found)] == [0, 1, 3, 4, 5, 7]  # 7: nothing is smaller
    assert best_trial(results, found).number == 5
