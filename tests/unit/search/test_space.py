"""Search spaces: conditions, points, grids, and what excludes each other; everything wrong is told when it is read."""

import random
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.search.domains import LogUniform
from orchestrator.search.space import load_space
from tests.unit.search.spaces import NONE, RANDOM, WEIGHT, space

KIND = {"kind": "choice", "values": ["adamw", "sgd"]}
OF_SGD = {"kind": "uniform", "low": 0, "high": 1, "when": {"kind": ["sgd"]}}
OF_NESTEROV = {"kind": "choice", "values": [1, 2], "when": {"nesterov": [True]}}
NESTEROV = {"kind": "choice", "values": [True, False], "when": {"kind": ["sgd"]}}
TREE = {"of_nesterov": OF_NESTEROV, "nesterov": NESTEROV, "kind": KIND}  # children are written before their parents


def test_the_same_seed_draws_the_same_samples() -> None:
    one, two = (space().sample(random.Random(7)) for _ in range(2))
    assert one == two != space().sample(random.Random(8))


def test_a_setting_whose_condition_does_not_hold_is_absent_through_every_level() -> None:
    found = space(parameters=TREE)
    assert found.order == ("kind", "nesterov", "of_nesterov")
    drawn = [found.sample(random.Random(seed)) for seed in range(400)]
    for values in drawn:
        assert ("nesterov" in values) == (values["kind"] == "sgd")
        assert ("of_nesterov" in values) == (values.get("nesterov") is True)
    share = sum("of_nesterov" in values for values in drawn) / 400
    assert share == pytest.approx(0.25, abs=0.08)


def test_a_grid_enumerates_every_combination_that_conditions_leave_once() -> None:
    found = space(parameters=TREE, searcher={"kind": "grid"}, budget={})
    assert list(found.cells()) == [
        {"kind": "adamw"},
        {"kind": "sgd", "nesterov": True, "of_nesterov": 1},
        {"kind": "sgd", "nesterov": True, "of_nesterov": 2},
        {"kind": "sgd", "nesterov": False},
    ]
    assert found.num_trials == 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": {"a": {"kind": "uniform", "low": 2, "high": 1}}}, "low must be below high"),
        ({"parameters": {"a": {"kind": "loguniform", "low": 0, "high": 1}}}, "parameters.a.low"),
        ({"parameters": {"a": {"kind": "choice", "values": []}}}, "parameters.a.values"),
        ({"parameters": {}}, "parameters"),
        ({"points": [{"losses.text.wieght": 1.0}]}, "points.0 must give exactly losses.text.weight"),
        ({"points": [{"losses.text.weight": 11}]}, "losses.text.weight 11 is not in its domain"),
        ({"parameters": TREE, "points": [{"kind": "adamw", "nesterov": True}]}, "its condition does not hold"),
        ({"points": [{"losses.text.weight": 1}] * 5}, "points: 5, and budget.num_trials allows 4"),
        ({"objectives": {"select/all": "highest"}}, "objectives.select/all"),
        ({"objectives": {}}, "objectives"),
        ({"budget": {"num_trial": 3}}, "budget.num_trial: unknown setting; did you mean num_trials?"),
        ({"budget": {"hours": 1}}, "budget.num_trials: needed with searcher optuna_tpe"),
        ({"searcher": {"kind": "grid"}}, "losses.text.weight without end of values; give a step or a choice"),
        ({"parameters": {"kind": KIND}, "searcher": {"kind": "grid"}}, "4 is more; the grid has 2"),
        ({"parameters": TREE, "searcher": {"kind": "grid"}, "budget": {"num_trials": 3}}, "3 leaves 1 untried"),
        ({"parameters": {"a": OF_SGD, **WEIGHT}}, "parameters.a.when: kind is no choice or grid of this space"),
        ({"parameters": {"a": {**OF_SGD, "when": {"kind": ["adam"]}}, "kind": KIND}}, "'adam' is none of its values"),
        (
            {"parameters": {"a": {**KIND, "when": {"b": ["sgd"]}}, "b": {**KIND, "when": {"a": ["sgd"]}}}},
            "the conditions of a, b go round in a circle",
        ),
        ({"objectives": {"report/all": "max"}}, "the report split chooses nothing; take select/all"),
        ({"objectives": {"size": "min"}}, "objectives.size: no metric that a trial tells"),
        ({"objectives": {"select/a": "max", "train/b": "min"}}, "2 objectives have no order; scheduler: {kind: none}"),
        ({"searcher": {"kind": "optuna_nsga2"}}, "is for several objectives"),
        ({"scheduler": {"kind": "pbt"}}, "scheduler pbt changes values itself"),
        (
            {"scheduler": {"kind": "pb2"}, "searcher": RANDOM, "parameters": {"kind": KIND}},
            "pb2 takes uniform and loguniform alone; kind is neither",
        ),
        ({"searcher": RANDOM, "warm_start": ["runs/a"]}, "warm_start: searcher random learns from no trial"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        space(**changes)
    assert told in str(error.value)


def test_bounds_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\nquestion: a\nexpected: b\ncost: c\nbudget: {num_trials: 2}\n"
        "parameters:\n  training.optimizer.learning_rate: {kind: loguniform, low: 1e-4, high: 1e-2}\n"
    )
    domain = load_space(tmp_path / "s.yaml").parameters["training.optimizer.learning_rate"]
    assert isinstance(domain, LogUniform)
    assert (domain.low, domain.high) == (1e-4, 1e-2)


def test_objectives_keep_their_order_and_the_first_is_the_one_that_decides() -> None:
    found = space(objectives={"select/few": "max", "cost/latency_ms_b8_t2": "min"}, scheduler=NONE)
    assert (found.metric, found.mode) == ("select/few", "max")
