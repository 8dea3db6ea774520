"""The answers of a sweep against trials whose truth is known, and the best configuration as a sheet that loads."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.load import arm_experiment, load_experiment
from orchestrator.search.answers import answers
from orchestrator.search.best_sheet import best_sheet
from orchestrator.search.importance import importances
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult
from tests.smoke_line import SMOKE

WEIGHT, DEPTH, SEED, TEMPERATURE = (
    "losses.text.weight",
    "adaptor.depth",
    "training.init_seed",
    "losses.text.temperature",
)


def _space(**changes: Any) -> SearchSpace:
    tree: dict[str, Any] = {
        "name": "test",
        "question": "?",
        "expected": "!",
        "cost": "none",
        "parameters": {
            WEIGHT: {"kind": "loguniform", "low": 0.1, "high": 10},
            DEPTH: {"kind": "choice", "values": [0, 1, 2]},
        },
        "budget": {"num_trials": 40},
    }
    return SearchSpace.model_validate({**tree, **changes})


def _trial(number: int, values: dict[str, Any], reached: float, **changes: Any) -> TrialResult:
    given: dict[str, Any] = {"epochs": 5, "status": "finished", "metrics": {"select/all": reached}}
    return TrialResult(number=number, values=values, **{**given, **changes})


def _forty() -> list[TrialResult]:
    """Trials whose objective depends on the weight alone."""
    generator, space = random.Random(0), _space()
    drawn = [space.sample(generator) for _ in range(40)]
    return [_trial(number, values, -(math.log10(float(values[WEIGHT])) ** 2)) for number, values in enumerate(drawn)]  # type: ignore[arg-type]


def test_the_setting_that_decides_is_the_important_one_and_the_same_trials_say_the_same() -> None:
    found = importances(_forty(), _space(), "select/all")
    assert [one.path for one in found] == [WEIGHT, DEPTH]
    assert found[0].share > 0.9 > 0.1 > found[1].share
    assert sum(one.share for one in found) == pytest.approx(1)
    assert found[0].low > found[1].high
    assert all(one.low <= one.share + 0.1 and one.num_trials == 40 for one in found)
    assert importances(_forty(), _space(), "select/all") == found


def test_a_conditional_setting_is_judged_among_the_trials_that_have_it() -> None:
    space = _space(
        parameters={
            DEPTH: {"kind": "choice", "values": [0, 1]},
            TEMPERATURE: {"kind": "uniform", "low": 0, "high": 1, "when": {DEPTH: [1]}},
        }
    )
    generator = random.Random(1)
    drawn = [space.sample(generator) for _ in range(30)]
    trials = [_trial(number, values, float(values.get(TEMPERATURE, 0.5))) for number, values in enumerate(drawn)]  # type: ignore[arg-type]
    found = {one.path: one for one in importances(trials, space, "select/all")}
    assert found[TEMPERATURE].num_trials == sum(values[DEPTH] == 1 for values in drawn) < 30
    assert found[TEMPERATURE].share > 0.9


def test_slices_are_the_means_of_what_was_tried_and_few_trials_are_said_to_be_few() -> None:
    trials = [_trial(n, {WEIGHT: 1.0, DEPTH: n % 2}, 0.5 + 0.1 * (n % 2)) for n in range(3)]
    trials.append(_trial(3, {WEIGHT: 2.0, DEPTH: 0}, 0.9, status="stopped", epochs=1))
    found = answers(trials, _space(), {"select/all": 100})
    assert (found.best, dict(found.values)) == (1, {WEIGHT: 1.0, DEPTH: 1})
    assert [(one.values, one.num_trials, one.mean) for one in found.slices] == [("0", 2, 0.5), ("1", 1, 0.6)]
    assert (found.slices[0].half_width, found.slices[1].half_width) == (0.0, math.inf)
    assert found.importance == {"select/all": ()}
    told = " ".join(found.warnings)
    assert "Only 3 trials ran to their end and told numbers: too few" in told
    assert "1 stopped early are left out" in told
    assert "several seeds" in told
    assert "2 of 2 other finished trials are not distinguishable" in " ".join(found.words)  # 0.1 < 1.96 * 0.0700
    assert "0 of 2 other" in " ".join(answers(trials, _space(), {"select/all": 1000}).words)


def test_repeated_seeds_choose_by_their_mean_and_say_what_they_cannot_tell_apart() -> None:
    space = _space(
        parameters={DEPTH: {"kind": "choice", "values": [0, 1, 2]}, SEED: {"kind": "grid", "values": [0, 1, 2]}}
    )
    reached = {0: (0.50, 0.52, 0.54), 1: (0.70, 0.40, 0.49), 2: (0.30, 0.32, 0.35)}  # depth 1 has the luckiest trial
    trials = [
        _trial(3 * depth + seed, {DEPTH: depth, SEED: seed}, value)
        for depth, values in reached.items()
        for seed, value in enumerate(values)
    ]
    found = answers(trials, space)
    assert found.best == 3
    assert dict(found.values) == {DEPTH: 1}  # 0.53 on average, above 0.52
    assert [one.values[DEPTH] for one in found.configurations] == [1, 0, 2]
    assert [one.verdict for one in found.configurations] == ["best", "not distinguishable", "not distinguishable"]
    assert found.configurations[2].to_best is not None
    assert found.configurations[2].to_best.mean == pytest.approx(0.97 / 3 - 0.53)
    calm = [_trial(one.number, one.values, one.metrics["select/all"] - 0.2 * (one.number == 3)) for one in trials]
    verdicts = {one.values[DEPTH]: one.verdict for one in answers(calm, space).configurations}
    assert verdicts == {0: "best", 1: "not distinguishable", 2: "worse"}


def test_the_best_sheet_loads_as_the_experiment_with_the_values_in_its_arm(tmp_path: Path) -> None:
    experiment, values = load_experiment(SMOKE), {"losses.text.weight": 0.25, "adaptor.depth": 2}
    text = best_sheet(experiment, "distilled", values, "smoke-best", ["Question: which?", "From: a sweep\nof trials"])
    assert text.startswith("# Question: which?\n# From: a sweep\n# of trials\nname: smoke-best\n")
    (tmp_path / "best.yaml").write_text(text)
    found = load_experiment(tmp_path / "best.yaml")
    assert found.sweep is None
    arm, before = arm_experiment(found, "distilled"), arm_experiment(experiment, "distilled", values)
    for name in ("student", "adaptor", "losses", "training", "dataset", "texts"):
        assert getattr(arm, name) == getattr(before, name)
    assert arm_experiment(found, "baseline").losses == arm_experiment(experiment, "baseline").losses


def test_objectives_that_are_no_numbers_and_values_outside_the_space_end_no_sweep() -> None:
    nothing = [_trial(number, {WEIGHT: 1.0 + number, DEPTH: 0}, math.nan) for number in range(5)]
    found = answers(nothing, _space())
    assert (found.best, found.slices, found.importance) == (0, (), {"select/all": ()})
    assert "Only 0 trials ran to their end" in found.warnings[0]
    moved = [_trial(number, {WEIGHT: 20.0 + number, DEPTH: 7}, 0.5) for number in range(5)]
    assert importances([*_forty(), *moved], _space(), "select/all") == importances(_forty(), _space(), "select/all")
