"""Settings of the schedulers: which trials are stopped before their end, or go on from another one's state.

Holds settings; the engine brings the schedulers. Reads and writes nothing.
"""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class NoSchedulerSettings(Frozen):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


class AshaSettings(Frozen):
    """Asynchronous successive halving (Li et al., 2020): of those at a rung, one in `reduction_factor` goes on."""

    kind: Literal["asha"] = "asha"
    grace_epochs: int = Field(default=5, ge=1, description="no trial is stopped before")
    reduction_factor: float = Field(default=3, gt=1)


class HyperBandSettings(Frozen):
    """HyperBand (Li et al., 2018): brackets of successive halving that start from fewer and more epochs."""

    kind: Literal["hyperband"] = "hyperband"
    reduction_factor: float = Field(default=3, gt=1, description="of those at a rung, one in so many goes on")


class MedianSettings(Frozen):
    """A trial is stopped when its best is below the median of the others' running averages (Golovin et al., 2017)."""

    kind: Literal["median"] = "median"
    grace_epochs: int = Field(default=5, ge=1, description="no trial is stopped before")
    min_trials: int = Field(default=3, ge=1, description="others that must have come as far before one is stopped")


class PbtSettings(Frozen):
    """Population based training (Jaderberg et al., 2017): the worst go on from the state of the best.

    Their values then change, within the domains; those that change the shape of the network cannot.
    """

    kind: Literal["pbt"] = "pbt"
    interval_epochs: int = Field(default=5, ge=1, description="between two looks at the population")
    quantile_fraction: float = Field(default=0.25, gt=0, le=0.5, description="share of the best and of the worst")
    resample_fraction: float = Field(
        default=0.25, ge=0, le=1, description="chance that a value is drawn anew instead of moved"
    )
    seed: int = 0


class Pb2Settings(Frozen):
    """PBT whose values a Gaussian process proposes (Parker-Holder et al., 2020); numbers between bounds only."""

    kind: Literal["pb2"] = "pb2"
    interval_epochs: int = Field(default=5, ge=1, description="between two looks at the population")
    quantile_fraction: float = Field(default=0.25, gt=0, le=0.5, description="share of the best and of the worst")
    seed: int = 0


Population = PbtSettings | Pb2Settings
Scheduler = Annotated[
    NoSchedulerSettings | AshaSettings | HyperBandSettings | MedianSettings | PbtSettings | Pb2Settings,
    Field(discriminator="kind"),
]
