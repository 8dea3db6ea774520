"""The domains of a search space: which values one setting may take, and when it is there at all.

Holds settings. Reads and writes nothing. Knows nothing of experiments and of searchers.
"""

import math
import random
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen

Value = float | int | str | bool | None | list[Any] | dict[str, Any]


def same(one: Any, other: Any) -> bool:
    """Whether two values are one; true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class Conditional(Frozen):
    """What all domains share: `when` the setting is there.

    `when` maps paths of other choices (or grids) to those of their values with which this setting is there; all of them
    must hold. Where it is not there, a trial has no value for it.
    """

    when: dict[str, tuple[Value, ...]] = Field(default_factory=dict)


class Uniform(Conditional):
    """A real number, uniform between the bounds; with `step` one of low, low + step, ..., high."""

    kind: Literal["uniform"] = "uniform"
    low: float = Field(description="least value")
    high: float = Field(description="largest value")
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.step is not None and (_exact(self.high) - _exact(self.low)) % _exact(self.step):
            raise ValueError(f"high must be low and whole steps of {self.step:g}")
        return self

    def cells(self) -> tuple[Value, ...] | None:
        """All values in order; None: there is no end of them."""
        if self.step is None:
            return None
        steps = int((_exact(self.high) - _exact(self.low)) / _exact(self.step))
        return tuple(float(_exact(self.low) + n * _exact(self.step)) for n in range(steps + 1))

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        cells = self.cells()
        return generator.uniform(self.low, self.high) if cells is None else generator.choice(cells)

    def contains(self, value: Any) -> bool:
        """Whether a setting of this domain may be `value`."""
        return _is_between(value, self.low, self.high) and (self.step is None or value in (self.cells() or ()))

    def nearest(self, value: float) -> Value:
        """The value of the domain that is closest to a number."""
        if (cells := self.cells()) is not None:
            return min(cells, key=lambda cell: abs(cell - value))  # type: ignore[operator]
        return float(min(max(value, self.low), self.high))


class LogUniform(Conditional):
    """A positive number whose logarithm is uniform between the bounds."""

    kind: Literal["loguniform"] = "loguniform"
    low: float = Field(gt=0, description="least value")
    high: float = Field(gt=0, description="largest value")

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def cells(self) -> tuple[Value, ...] | None:
        """See `Uniform`."""
        return None

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        drawn = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)

    def contains(self, value: Any) -> bool:
        """See `Uniform`."""
        return _is_between(value, self.low, self.high)

    def nearest(self, value: float) -> Value:
        """See `Uniform`."""
        return float(min(max(value, self.low), self.high))


class Integer(Conditional):
    """A whole number, both bounds included, in steps; `log`: the logarithm is (nearly) uniform."""

    kind: Literal["integer"] = "integer"
    low: int = Field(description="least value, included")
    high: int = Field(description="largest value, included")
    step: int = Field(default=1, ge=1, description="distance of neighbouring values")
    log: bool = False

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high must be low and whole steps of {self.step}")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError("log needs low from 1 and step 1")
        return self

    def cells(self) -> tuple[Value, ...] | None:
        """See `Uniform`."""
        return tuple(range(self.low, self.high + 1, self.step))

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        if not self.log:
            return generator.randrange(self.low, self.high + 1, self.step)
        drawn = math.exp(generator.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(max(round(drawn), self.low), self.high)

    def contains(self, value: Any) -> bool:
        """See `Uniform`."""
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and self.low <= value <= self.high and not (value - self.low) % self.step

    def nearest(self, value: float) -> Value:
        """See `Uniform`."""
        steps = round((value - self.low) / self.step)
        return min(max(self.low + steps * self.step, self.low), self.high)


class Choice(Conditional):
    """One of the values: numbers, texts, true and false, null, lists, or whole settings."""

    kind: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(
        min_length=1, description="what to choose from: numbers, texts, true and false, null, lists, or whole settings"
    )

    @model_validator(mode="after")
    def _no_value_stands_twice(self) -> Self:
        twice = [one for place, one in enumerate(self.values) if any(same(one, other) for other in self.values[:place])]
        if twice:
            raise ValueError(f"stands twice: {', '.join(map(str, twice))}")
        return self

    def cells(self) -> tuple[Value, ...] | None:
        """See `Uniform`."""
        return self.values

    def sample(self, generator: random.Random) -> Value:
        """One value."""
        return generator.choice(self.values)

    def contains(self, value: Any) -> bool:
        """See `Uniform`."""
        return any(same(value, one) for one in self.values)

    def place(self, value: Any) -> int:
        """0-based place of a value of the domain."""
        return next(place for place, one in enumerate(self.values) if same(value, one))


class Grid(Choice):
    """Values that are taken in turn, so that each is tried equally often whatever the searcher does (such as seeds)."""

    kind: Literal["grid"] = "grid"  # type: ignore[assignment]


Domain = Annotated[Uniform | LogUniform | Integer | Choice | Grid, Field(discriminator="kind")]


def _exact(number: float) -> Decimal:
    """The number that was written, without the noise of its binary form."""
    return Decimal(repr(number))


def _is_between(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
