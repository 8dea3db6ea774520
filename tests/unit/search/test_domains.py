"""Domains: draws have the distribution that is promised, bounds and steps hold, values keep their types."""

import math
import random
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.search.domains import Choice, Domain, Grid, Integer, LogUniform, Uniform


def draws(domain: Domain, number: int = 4000) -> list[Any]:
    generator = random.Random(0)
    return [domain.sample(generator) for _ in range(number)]


def test_a_uniform_domain_is_uniform_between_its_bounds() -> None:
    values = draws(Uniform(low=-1, high=3))
    assert -1 <= min(values) < -0.95
    assert 2.95 < max(values) <= 3
    assert sum(values) / len(values) == pytest.approx(1, abs=0.06)  # 3.3 * 4 / sqrt(12 * 4000)


def test_a_loguniform_domain_puts_equal_weight_on_each_decade() -> None:
    values = draws(LogUniform(low=1e-3, high=1.0))
    assert 1e-3 <= min(values) < max(values) <= 1
    decades = [sum(10.0**-n <= value < 10.0 ** (1 - n) for value in values) / len(values) for n in (1, 2, 3)]
    assert decades == pytest.approx([1 / 3] * 3, abs=0.025)


def test_a_step_gives_the_written_numbers_and_each_equally_often() -> None:
    domain = Uniform(low=0.1, high=0.5, step=0.1)
    assert domain.cells() == (0.1, 0.2, 0.3, 0.4, 0.5)  # not 0.30000000000000004
    values = draws(domain)
    assert [values.count(cell) / 4000 for cell in domain.cells() or ()] == pytest.approx([0.2] * 5, abs=0.02)
    assert (domain.nearest(0.34), domain.nearest(9.0), domain.nearest(-1)) == (0.3, 0.5, 0.1)


def test_integers_are_uniform_or_of_equal_weight_in_each_octave() -> None:
    even = draws(Integer(low=2, high=8, step=2))
    assert set(even) == {2, 4, 6, 8}
    assert all(type(value) is int for value in even)
    octaves = draws(Integer(low=1, high=64, log=True))
    # the density is 1 / v: of P(low <= v < high) = ln((high - .5) / (low - .5)) / ln(64.5 / .5)
    for low, high in ((2, 4), (8, 16), (32, 64)):
        expected = math.log((high - 0.5) / (low - 0.5)) / math.log(129)
        assert sum(low <= value < high for value in octaves) / 4000 == pytest.approx(expected, abs=0.025)


def test_a_choice_gives_each_of_its_values_with_its_type() -> None:
    values = draws(Choice(values=(0, 0.5, "linear", True, None)), 400)
    assert {(type(value), value) for value in values} == {
        (int, 0), (float, 0.5), (str, "linear"), (bool, True), (type(None), None)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Uniform(low=0, high=1), [0, 0.3, 1.0], [-0.1, 1.1, "0.3", True, None]),
        (Uniform(low=0, high=1, step=0.25), [0.0, 0.75], [0.3]),
        (LogUniform(low=0.1, high=1), [0.1, 1], [0.0]),
        (Integer(low=0, high=6, step=3), [0, 3, 6], [1, 9, 3.0, True]),
        (Choice(values=(1, True, ["a", "b"], None)), [1, True, ["a", "b"], None], [0, False, ["a"], "a"]),
        (Grid(values=(0, 1)), [0, 1], [True, 2]),
    ],
)
def test_a_domain_knows_its_values(domain: Domain, inside: list[Any], outside: list[Any]) -> None:
    assert [domain.contains(value) for value in inside] == [True] * len(inside)
    assert [domain.contains(value) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Uniform(low=2, high=1), "low must be below high"),
        (lambda: Uniform(low=0, high=1, step=0.3), "whole steps of 0.3"),
        (lambda: LogUniform(low=0, high=1), "greater than 0"),
        (lambda: Integer(low=0, high=8, log=True), "low from 1"),
        (lambda: Choice(values=("a", "b", "a")), "stands twice: a"),
    ],
)
def test_a_domain_that_cannot_be_drawn_from_is_refused(make: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        make()
