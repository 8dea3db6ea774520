"""What a sweep is, without Ray Tune: domains over dotted paths of the experiment, metric, budget, searcher, scheduler.

Reads search-space sheets. Knows nothing of how trials are run.
"""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.arms import shared_by_arms
from orchestrator.config.experiment import NAME_PATTERN, Experiment, Override
from orchestrator.config.load import read_yaml, validate, with_overrides
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen

Value = float | int | str | bool | None
NUM_SAMPLES_CHECKED = 20


class Uniform(Frozen):
    """A real number, uniform between the bounds."""

    kind: Literal["uniform"] = "uniform"
    low: float
    high: float

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "Uniform":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        return generator.uniform(self.low, self.high)


class LogUniform(Frozen):
    """A positive number whose logarithm is uniform between the bounds."""

    kind: Literal["loguniform"] = "loguniform"
    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "LogUniform":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))


class Choice(Frozen):
    """One of the values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(min_length=1)

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        return generator.choice(self.values)


Domain = Annotated[Uniform | LogUniform | Choice, Field(discriminator="kind")]


class AshaSettings(Frozen):
    """Asynchronous successive halving; the unit is one evaluation of the trial."""

    kind: Literal["asha"] = "asha"
    grace_epochs: int = Field(default=5, ge=1)
    reduction_factor: float = Field(default=3, gt=1)


class NoSchedulerSettings(Frozen):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


class TpeSettings(Frozen):
    """Optuna's tree-structured Parzen estimator."""

    kind: Literal["optuna_tpe"] = "optuna_tpe"
    seed: int = 0
    num_startup_trials: int = Field(default=4, ge=1)


class RandomSettings(Frozen):
    """Independent draws."""

    kind: Literal["random"] = "random"
    seed: int = 0


class SearchSpace(Frozen):
    """One sheet of `search_spaces/`.

    `fixed` holds for every trial (for example fewer epochs than the final student's); `points` are tried first.
    """

    name: str = Field(pattern=NAME_PATTERN)
    question: str
    expected: str
    cost: str
    parameters: dict[str, Domain] = Field(min_length=1)
    fixed: dict[str, Override] = Field(default_factory=dict)
    points: tuple[dict[str, Value], ...] = ()
    metric: str = "select/all"
    mode: Literal["max", "min"] = "max"
    num_trials: int = Field(ge=1)
    scheduler: Annotated[AshaSettings | NoSchedulerSettings, Field(discriminator="kind")] = AshaSettings()
    searcher: Annotated[TpeSettings | RandomSettings, Field(discriminator="kind")] = TpeSettings()

    @model_validator(mode="after")
    def _points_are_in_the_space(self) -> "SearchSpace":
        for index, point in enumerate(self.points):
            if set(point) != set(self.parameters):
                raise ValueError(f"points.{index} must give exactly {', '.join(self.parameters)}")
        return self

    def sample(self, generator: random.Random) -> dict[str, Value]:
        """One independent draw: dotted path -> value."""
        return {path: domain.sample(generator) for path, domain in self.parameters.items()}


def load_space(path: Path) -> SearchSpace:
    """The search space at `path`."""
    return validate(SearchSpace, read_yaml(path), str(path))


def check_space(space: SearchSpace, experiment: Experiment) -> None:
    """Prove before anything starts that every path exists and that twenty samples and every point build.

    Raises:
        ConfigError: what the first sample that does not build says.
    """
    tree = experiment.model_dump(mode="json")
    unknown = [path for path in (*space.parameters, *space.fixed) if not _exists(tree, path)]
    if unknown:
        raise ConfigError(
            f"search space {space.name}: the experiment has no {', '.join(unknown)}",
            expected="dotted paths into the experiment's resolved tree (see --dry-run)",
        )
    if shared := shared_by_arms((*space.parameters, *space.fixed), tree):
        raise ConfigError(f"search space {space.name}: {'; '.join(shared)}")
    generator = random.Random(0)
    samples = [space.sample(generator) for _ in range(NUM_SAMPLES_CHECKED)]
    for values in (*space.points, *samples):
        trial_experiment(experiment, space, values)


def trial_experiment(experiment: Experiment, space: SearchSpace, values: Mapping[str, Any]) -> Experiment:
    """The experiment of one trial: overrides only."""
    return with_overrides(experiment, {**space.fixed, **values}, f"search space {space.name}")


def _exists(tree: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True
