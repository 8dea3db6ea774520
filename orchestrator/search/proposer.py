"""Which values the next trial gets: points first, then draws, a grid's cells, or what Optuna proposes.

Reads and writes nothing. A proposal is a pure function of the space, the trial's number and the trials that it is told,
because each one seeds its sampler anew: a searcher has no state that could be lost. Knows nothing of how trials run.
"""

import hashlib
import itertools
import math
import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.search.domains import Choice, Domain, Integer, LogUniform, Uniform, Value
from orchestrator.search.searchers import GridSettings, Informed, Nsga2Settings, RandomSettings
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult

if TYPE_CHECKING:
    import optuna

GENERATION = "NSGAIISampler:generation"  # the attribute by which Optuna's NSGA-II knows whose parents a trial may be


class Proposer:
    """Proposes the values of trials by their numbers.

    Args:
        warm: ended trials of other sweeps that fit this space (see `warm_start`); told to the searcher before its own.
    """

    def __init__(self, space: SearchSpace, warm: Sequence[TrialResult] = ()) -> None:
        self.space, self._warm = space, tuple(warm)

    def propose(
        self,
        number: int,
        ended: Iterable[TrialResult] = (),
        running: Iterable[Mapping[str, Value]] = (),
    ) -> dict[str, Value] | None:
        """The values of trial `number`, dotted path -> value; None: the space is exhausted.

        With searchers `random` and `grid` they depend on the number alone; with the others also on which trials have
        ended (in whatever order they did) and on the values of those that run.
        """
        space, points = self.space, self.space.points
        if space.budget.num_trials is not None and number >= space.budget.num_trials:
            return None
        if number < len(points):
            return {path: points[number][path] for path in space.active(points[number])}
        turn = number - len(points)
        match space.searcher:
            case GridSettings():
                untried = (cell for cell in space.cells() if cell not in points)
                return next(itertools.islice(untried, turn, None), None)
            case RandomSettings(seed=seed):
                return space.sample(random.Random(f"{seed}/{number}"), space.in_turn(turn))
            case _:
                told = [*self._warm, *sorted(ended, key=lambda result: result.number)]
                return self._ask(space.searcher, number, told, running, space.in_turn(turn))

    def _ask(
        self,
        searcher: Informed,
        number: int,
        told: Sequence[TrialResult],
        running: Iterable[Mapping[str, Value]],
        given: Mapping[str, Value],
    ) -> dict[str, Value]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        directions = ["maximize" if mode == "max" else "minimize" for mode in self.space.objectives.values()]
        study = optuna.create_study(directions=directions, sampler=_sampler(searcher, number))
        study.add_trials([*self._told(searcher, told), *(self._frozen(values) for values in running)])
        parameters = self.space.parameters
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fixed parameter", UserWarning)
            study.enqueue_trial({path: inner(parameters[path], value) for path, value in given.items()})
            trial = study.ask()
        values: dict[str, Value] = {}
        for path in self.space.order:
            if self.space.is_active(path, values):
                domain = parameters[path]
                values[path] = _suggest(trial, path, domain)
        return values

    def _told(self, searcher: Informed, told: Sequence[TrialResult]) -> "list[optuna.trial.FrozenTrial]":
        found = []
        for result in told:
            values = [result.metrics.get(name, math.nan) for name in self.space.objectives]
            if result.status == "failed" or any(math.isnan(value) for value in values):
                continue
            if result.status == "stopped":  # Optuna ranks it by how far it came
                if len(values) == 1:
                    found.append(self._frozen(result.values, state="PRUNED", intermediate={result.epochs: values[0]}))
                continue
            generation = len(found) // searcher.population if isinstance(searcher, Nsga2Settings) else 0
            found.append(self._frozen(result.values, state="COMPLETE", reached=values, generation=generation))
        return found

    def _frozen(
        self,
        chosen: Mapping[str, Value],
        *,
        state: str = "RUNNING",
        generation: int | None = None,
        intermediate: Mapping[int, float] | None = None,
        reached: Sequence[float] | None = None,
    ) -> "optuna.trial.FrozenTrial":
        import optuna

        domains = {path: self.space.parameters[path] for path in chosen}
        return optuna.create_trial(
            state=optuna.trial.TrialState[state],
            params={path: inner(domain, chosen[path]) for path, domain in domains.items()},
            distributions={path: distribution(domain) for path, domain in domains.items()},
            intermediate_values=intermediate,
            system_attrs={} if generation is None else {GENERATION: generation},
            values=reached,
        )


def _sampler(searcher: Informed, number: int) -> "optuna.samplers.BaseSampler":
    import optuna

    seed = int.from_bytes(hashlib.sha256(f"{searcher.seed}/{number}".encode()).digest()[:4])
    if isinstance(searcher, Nsga2Settings):
        return optuna.samplers.NSGAIISampler(population_size=searcher.population, seed=seed)
    return optuna.samplers.TPESampler(n_startup_trials=searcher.num_startup_trials, seed=seed)


def distribution(domain: Domain) -> "optuna.distributions.BaseDistribution":
    """A domain as Optuna has it; a choice is its places, because Optuna takes no lists and no settings."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case Uniform():
            return FloatDistribution(domain.low, domain.high, step=domain.step)
        case LogUniform():
            return FloatDistribution(domain.low, domain.high, log=True)
        case Integer():
            return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Choice():
            return CategoricalDistribution(range(len(domain.values)))


def inner(domain: Domain, value: Any) -> Any:
    """A value as Optuna has it."""
    return domain.place(value) if isinstance(domain, Choice) else value


def _suggest(trial: "optuna.Trial", path: str, domain: Domain) -> Value:
    match domain:
        case Uniform():
            return domain.nearest(trial.suggest_float(path, domain.low, domain.high, step=domain.step))
        case LogUniform():
            return domain.nearest(trial.suggest_float(path, domain.low, domain.high, log=True))
        case Integer():
            return int(trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log))
        case Choice():
            return domain.values[trial.suggest_categorical(path, range(len(domain.values)))]
