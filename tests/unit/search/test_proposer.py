"""Proposals: pure functions of what is told, equal whatever the order of the endings, and better than chance where
they learn."""

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.search.proposer import Proposer
from orchestrator.search.ranking import pareto_front
from orchestrator.search.space import SearchSpace
from tests.unit.search.spaces import NONE, RANDOM, ended, space

MANY = {"num_trials": 200}
X = {"x": {"kind": "uniform", "low": -5, "high": 5}}
TPE = {"kind": "optuna_tpe", "seed": 1, "num_startup_trials": 5}
GRID = {"a": {"kind": "choice", "values": [1, 2]}, "b": {"kind": "integer", "low": 0, "high": 4, "step": 2}}
TREE = {
    "kind": {"kind": "choice", "values": ["line", "bend"]},
    "x": {"kind": "uniform", "low": -5, "high": 5, "step": 0.5},
    "bend": {"kind": "loguniform", "low": 0.01, "high": 10, "when": {"kind": ["bend"]}},
    "width": {"kind": "integer", "low": 1, "high": 64, "log": True},
    "seed": {"kind": "grid", "values": [0, 1, 2]},
}


def hill(values: dict[str, Any]) -> float:
    """A function of x, y and a choice with its best, 0, at (1, -2, "right")."""
    return -((values["x"] - 1) ** 2) - (values["y"] + 2) ** 2 - (0 if values["side"] == "right" else 3)


def run(found: SearchSpace, count: int, reached: Any = hill) -> Iterator[Any]:
    """Trials one after the other, each told to the next."""
    proposer, told = Proposer(found), list[Any]()
    for number in range(count):
        values = proposer.propose(number, told)
        assert values is not None
        told.append(ended(number, values, reached(values)))
        yield told[-1]


def test_points_come_first_and_the_number_of_trials_is_the_end() -> None:
    proposer = Proposer(space(points=[{"losses.text.weight": 1.0}], searcher=RANDOM))
    assert proposer.propose(0) == {"losses.text.weight": 1.0}
    assert proposer.propose(3) is not None
    assert proposer.propose(4) is None


def test_a_grid_is_walked_once_after_its_points() -> None:
    proposer = Proposer(space(parameters=GRID, searcher={"kind": "grid"}, budget={}, points=[{"a": 2, "b": 0}]))
    found = [proposer.propose(number) for number in range(7)]
    assert found == [
        {"a": 2, "b": 0}, {"a": 1, "b": 0}, {"a": 1, "b": 2}, {"a": 1, "b": 4}, {"a": 2, "b": 2}, {"a": 2, "b": 4},
        None,
    ]  # fmt: skip


def test_random_trials_depend_on_their_number_and_the_seed_alone() -> None:
    one, other = (Proposer(space(parameters=X, budget=MANY, searcher={"kind": "random", "seed": s})) for s in (0, 1))
    drawn = [one.propose(number) for number in range(50)]
    told = [ended(9, {"x": 1.0}, 1.0)]
    assert [one.propose(number, told, [{"x": 2.0}]) for number in reversed(range(50))] == drawn[::-1]
    assert drawn[:3] != [other.propose(number) for number in range(3)]
    mean = sum(float(values["x"]) for values in drawn if values) / 50  # type: ignore[arg-type]
    assert mean == pytest.approx(0, abs=1.4)  # 3.4 * 10 / sqrt(12 * 50): numbers give independent draws


@pytest.mark.parametrize("searcher", [RANDOM, TPE])
def test_grid_domains_come_in_turn_beside_a_searcher_and_conditions_hold(searcher: dict[str, Any]) -> None:
    found = space(parameters=TREE, budget=MANY, searcher=searcher)
    results = list(run(found, 12, lambda values: -abs(values["x"])))
    assert [result.values["seed"] for result in results] == [0, 1, 2] * 4
    assert {"kind", "x", "width", "seed"} < set().union(*(result.values for result in results))
    for result in results:
        assert found.misfits(result.values) == []
    assert any("bend" in result.values for result in results)


def test_a_proposal_is_the_same_whatever_the_order_in_which_trials_ended() -> None:
    found = space(parameters=TREE, budget=MANY, searcher=TPE)
    told = list(run(found, 20, lambda values: -abs(values["x"])))
    stopped = [ended(n, told[n].values, -1.0, status="stopped", epochs=n % 3 + 1) for n in range(0, 20, 4)]
    told = [*(result for result in told if result.number % 4), *stopped]
    running = [{**told[0].values, "x": 4.5}]
    wanted = Proposer(found).propose(25, told, running)
    for seed in range(3):
        shuffled = random.Random(seed).sample(told, len(told))
        assert Proposer(found).propose(25, shuffled, running) == wanted
    assert Proposer(found).propose(26, told, running) != wanted


def test_tpe_finds_better_values_than_chance_on_a_hill() -> None:
    tree = {
        **X,
        "y": {"kind": "uniform", "low": -5, "high": 5},
        "side": {"kind": "choice", "values": ["left", "right"]},
    }
    medians = {}
    for searcher in ("random", "optuna_tpe"):
        best = [
            max(
                result.metrics["select/all"]
                for result in run(space(parameters=tree, budget=MANY, searcher={"kind": searcher, "seed": seed}), 30)
            )
            for seed in range(3)
        ]
        medians[searcher] = sorted(best)[1]
    assert medians["optuna_tpe"] > 0.5 * medians["random"]  # both below 0: at most half as far from the top


def test_other_sweeps_trials_are_learnt_from_before_the_first_own_one() -> None:
    found = space(parameters=X, budget=MANY, searcher=TPE)
    warm = [ended(n, {"x": n / 4 - 5}, -((n / 4 - 5 - 3) ** 2)) for n in range(41)]
    cold = [abs(float(Proposer(found).propose(n)["x"]) - 3) for n in range(20)]  # type: ignore[index, arg-type]
    told = [abs(float(Proposer(found, warm).propose(n)["x"]) - 3) for n in range(20)]  # type: ignore[index, arg-type]
    assert sorted(told)[10] < 1 < 2 < sorted(cold)[10]


def test_failed_trials_and_those_without_a_number_teach_nothing() -> None:
    found = space(parameters=X, budget=MANY, searcher=TPE)
    good = [ended(n, {"x": float(n)}, -float(n)) for n in range(5)]
    bad = [
        ended(7, {"x": 1.0}, 9.0, status="failed"),
        ended(8, {"x": 1.0}, math.nan),
        ended(9, {"x": 1.0}, 0, metrics={}),
    ]
    assert Proposer(found).propose(30, [*good, *bad]) == Proposer(found).propose(30, good)


@pytest.mark.parametrize("searcher", [{"kind": "optuna_tpe"}, {"kind": "optuna_nsga2", "population": 8}])
def test_several_objectives_are_searched_for_their_front(searcher: dict[str, Any]) -> None:
    """Schaffer's problem on 3 values: x^2 and (x - 2)^2 with the front 0 <= x <= 2, y = z = 0, a 50th of the range."""

    def dominated_area(found: SearchSpace) -> float:
        told = list[Any]()
        for number in range(40):
            values: Any = Proposer(found).propose(number, told)
            cost = abs(values["y"]) + abs(values["z"])
            reached = {"select/one": values["x"] ** 2 + cost, "select/two": -((values["x"] - 2) ** 2) - cost}
            told.append(ended(number, values, 0, metrics=reached))
        front = sorted(
            (result.metrics["select/one"], -result.metrics["select/two"]) for result in pareto_front(told, found)
        )
        area, height = 0.0, 12.0
        for one, two in front:  # area below the corner (12, 12) that the front dominates
            if one < 12 and two < height:
                area, height = area + (12 - one) * (height - two), two
        return area

    tree = dict.fromkeys("xyz", X["x"])
    about = {
        "parameters": tree,
        "budget": MANY,
        "objectives": {"select/one": "min", "select/two": "max"},
        "scheduler": NONE,
    }
    learnt, drawn = (
        sorted(dominated_area(space(**about, searcher={**kind, "seed": seed})) for seed in range(3))[1]
        for kind in (searcher, {"kind": "random"})
    )
    assert learnt > drawn
