"""What a sweep is: domains over dotted paths of the experiment, objectives, budget, searcher, scheduler.

Reads search-space sheets. Knows nothing of how trials are run.
"""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.experiment import NAME_PATTERN, Override
from orchestrator.config.load import read_yaml, validate
from orchestrator.frozen import Frozen
from orchestrator.search.budget import Budget
from orchestrator.search.domains import Choice, Domain, Grid, LogUniform, Uniform, Value
from orchestrator.search.schedulers import AshaSettings, NoSchedulerSettings, Pb2Settings, PbtSettings, Scheduler
from orchestrator.search.searchers import GridSettings, Nsga2Settings, RandomSettings, Searcher, TpeSettings
from orchestrator.vocabulary import COST_LATENCY, COST_PARAMETERS, COST_SIZE

Mode = Literal["max", "min"]
TOLD, COST = ("select/", "train/"), "cost/"  # what trainings tell; what a student costs at inference


class SearchSpace(Frozen):
    """One sheet of `search_spaces/`.

    `fixed` holds for every trial (for example fewer epochs than the final student's); `points` are tried first.
    `objectives` maps metrics that a trial reports to what is wanted of them; with several, the sweep's result is their
    Pareto front, and the final student takes the values of its best trial by the first. `warm_start` are folders of
    finished sweeps, whose trials the searcher is told before the first of its own.
    """

    name: str = Field(pattern=NAME_PATTERN, description="of the sweep: its folder below sweeps/, and its run")
    question: str = Field(description="what it is to answer, in a sentence")
    expected: str = Field(description="what you expect before it runs")
    cost: str = Field(description="what it will take, in words")
    parameters: dict[str, Domain] = Field(
        min_length=1, description="dotted path of a setting -> the domain of its values"
    )
    fixed: dict[str, Override] = Field(default_factory=dict)
    points: tuple[dict[str, Value], ...] = ()
    objectives: dict[str, Mode] = Field(default={"select/all": "max"}, min_length=1)
    budget: Budget = Field(default=Budget(), description="when no trial is proposed any more")
    scheduler: Scheduler = Field(default=AshaSettings(), description="stops trials early; none: all run to their end")
    searcher: Searcher = Field(default=TpeSettings(), description="proposes the trials")
    warm_start: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [*self._wrong_conditions()]
        if not problems:
            problems += [*self._wrong_points(), *self._wrong_size(), *self._wrong_fixed()]
        problems += [*self._wrong_objectives(), *self._wrong_pairs()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def metric(self) -> str:
        """The first objective: the one a scheduler compares by, and the one that chooses the final student's values."""
        return next(iter(self.objectives))

    @property
    def mode(self) -> Mode:
        """What is wanted of the first objective."""
        return self.objectives[self.metric]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The paths, each after those that its condition is on."""
        placed: list[str] = []
        while len(placed) < len(self.parameters):
            placed += next(
                [path]
                for path in self.parameters
                if path not in placed and set(self.parameters[path].when) <= set(placed)
            )
        return tuple(placed)

    def is_active(self, path: str, values: Mapping[str, Any]) -> bool:
        """Whether the condition of `path` holds, given the values of the paths before it in `order`."""
        when = self.parameters[path].when
        return all(
            other in values and Choice(values=allowed).contains(values[other]) for other, allowed in when.items()
        )

    def active(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The paths that a trial with these values has."""
        return tuple(path for path in self.order if self.is_active(path, values))

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial of this space may have exactly these values."""
        return not self.misfits(values)

    def misfits(self, values: Mapping[str, Any]) -> list[str]:
        """What keeps values from being those of a trial, in words."""
        there = set(self.active(values))
        found = [f"{path} is missing" for path in self.order if path in there and path not in values]
        for path, value in values.items():
            if path not in self.parameters:
                found.append(f"{path} is no parameter of the space ({', '.join(self.parameters)})")
            elif path not in there:
                found.append(f"{path} is there although its condition does not hold")
            elif not self.parameters[path].contains(value):
                found.append(f"{path} {value!r} is not in its domain")
        return found

    def sample(self, generator: random.Random, given: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """One independent draw: dotted path -> value, the paths in `order`.

        Args:
            given: values that are not drawn, where their paths are there.
        """
        values: dict[str, Value] = {}
        for path in self.order:
            if self.is_active(path, values):
                values[path] = (
                    given[path] if given and path in given else self.parameters[path].sample(generator)
                )  # fmt: skip
        return values

    def in_turn(self, turn: int) -> dict[str, Value]:
        """The values of the grid domains at a turn: all combinations one after the other, and over again.

        Values of paths whose condition does not hold for a trial are to be left out.
        """
        grids = {path: domain.values for path, domain in self.parameters.items() if isinstance(domain, Grid)}
        cells = math.prod(len(values) for values in grids.values())
        found: dict[str, Value] = {}
        left = turn % cells
        for path, values in reversed(grids.items()):
            left, place = divmod(left, len(values))
            found[path] = values[place]
        return found

    def cells(self) -> Iterator[dict[str, Value]]:
        """Every combination of values, each once; the domains must be countable (see `uncountable`)."""
        return self._cells_after({}, self.order)

    def uncountable(self) -> list[str]:
        """Paths with no end of values."""
        return [path for path, domain in self.parameters.items() if domain.cells() is None]

    @property
    def num_trials(self) -> int:
        """How many trials there can be at most."""
        if self.budget.num_trials is not None:
            return self.budget.num_trials
        untried = (cell for cell in self.cells() if cell not in self.points)
        return len(self.points) + sum(1 for _ in untried)

    def _cells_after(self, values: dict[str, Value], rest: tuple[str, ...]) -> Iterator[dict[str, Value]]:
        if not rest:
            yield values
            return
        path, *others = rest
        if not self.is_active(path, values):
            yield from self._cells_after(values, tuple(others))
            return
        for cell in self.parameters[path].cells() or ():
            yield from self._cells_after({**values, path: cell}, tuple(others))

    def _wrong_conditions(self) -> Iterator[str]:
        reached: set[str] = set()
        while more := {p for p, domain in self.parameters.items() if p not in reached and set(domain.when) <= reached}:
            reached |= more
        for path, domain in self.parameters.items():
            for other, allowed in domain.when.items():
                of = self.parameters.get(other)
                if not isinstance(of, Choice):
                    there = [name for name, one in self.parameters.items() if isinstance(one, Choice) and name != path]
                    yield f"parameters.{path}.when: {other} is no choice or grid of this space ({', '.join(there)})"
                elif outside := [value for value in allowed if not of.contains(value)]:
                    yield f"parameters.{path}.when.{other}: {', '.join(map(repr, outside))} is none of its values"
        known = {path for path, domain in self.parameters.items() if set(domain.when) <= set(self.parameters)}
        if circle := sorted(known - reached):
            yield f"parameters: the conditions of {', '.join(circle)} go round in a circle"

    def _wrong_points(self) -> Iterator[str]:
        for index, point in enumerate(self.points):
            if misfits := self.misfits(point):
                exact = f"must give exactly {', '.join(self.active(point))}"
                yield f"points.{index} {exact}: {', '.join(misfits)}"
        if len(self.points) > (self.budget.num_trials or math.inf):
            yield f"points: {len(self.points)}, and budget.num_trials allows {self.budget.num_trials}"

    def _wrong_size(self) -> Iterator[str]:
        wanted = self.budget.num_trials
        if not isinstance(self.searcher, GridSettings):
            if wanted is None:
                yield f"budget.num_trials: needed with searcher {self.searcher.kind}"
            return
        if endless := self.uncountable():
            yield f"searcher grid: {', '.join(endless)} without end of values; give a step or a choice"
            return
        most = len(self.points) + sum(1 for cell in itertools.islice(self.cells(), 10**6) if cell not in self.points)
        if wanted is not None and wanted != most:
            more = f"leaves {most - wanted} untried" if wanted < most else "is more"
            yield f"budget.num_trials: {wanted} {more}; the grid has {most}. Leave it out, or take searcher random"

    def _wrong_fixed(self) -> Iterator[str]:
        for path in self.fixed:
            if below := [other for other in self.parameters if other.startswith(f"{path}.")]:
                yield f"fixed.{path}: {below[0]} is swept in it; set it in the experiment, for the final student too"

    def _wrong_objectives(self) -> Iterator[str]:
        for name in self.objectives:
            is_cost = name in (COST_SIZE, COST_PARAMETERS) or re.fullmatch(COST_LATENCY, name)
            if name.startswith("report/"):
                yield f"objectives.{name}: the report split chooses nothing; take select/{name.removeprefix('report/')}"
            elif not is_cost and not name.startswith(TOLD):
                costs = f"{COST_SIZE}, {COST_PARAMETERS} or cost/latency_ms_bBATCH_tTHREADS"
                yield f"objectives.{name}: no metric that a trial tells; select/NAME, train/NAME, {costs}"

    def _wrong_pairs(self) -> Iterator[str]:
        """Which parts exclude each other, and why."""
        scheduler, searcher = self.scheduler, self.searcher
        if len(self.objectives) > 1 and not isinstance(scheduler, NoSchedulerSettings):
            yield (
                f"scheduler {scheduler.kind} compares trials by one number, and {len(self.objectives)} objectives have "
                "no order; scheduler: {kind: none}"
            )
        if isinstance(searcher, Nsga2Settings) and len(self.objectives) == 1:
            yield "searcher optuna_nsga2 is for several objectives; with one take optuna_tpe"
        if isinstance(scheduler, PbtSettings | Pb2Settings):
            if not isinstance(searcher, RandomSettings):
                yield f"scheduler {scheduler.kind} changes values itself; searcher: {{kind: random}} for its first ones"
            if tied := [path for path, domain in self.parameters.items() if domain.when]:
                yield f"scheduler {scheduler.kind} changes each value by itself; {', '.join(tied)} is conditional"
        if isinstance(scheduler, Pb2Settings) and (
            other := [path for path, domain in self.parameters.items() if not isinstance(domain, Uniform | LogUniform)]
        ):
            yield f"scheduler pb2 takes uniform and loguniform alone; {', '.join(other)} is neither (take pbt)"
        if self.warm_start and isinstance(searcher, RandomSettings | GridSettings):
            yield f"warm_start: searcher {searcher.kind} learns from no trial; take optuna_tpe"


def load_space(path: Path) -> SearchSpace:
    """The search space at `path`."""
    return validate(SearchSpace, read_yaml(path), str(path))
