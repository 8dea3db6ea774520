"""Settings of the searchers: what proposes the values of the next trial.

Holds settings; `proposer.py` is what they do. Reads and writes nothing.
"""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class RandomSettings(Frozen):
    """Independent draws: trial n has the same values whatever the other trials found."""

    kind: Literal["random"] = "random"
    seed: int = 0


class GridSettings(Frozen):
    """Every combination of the values, once, the last setting changing fastest."""

    kind: Literal["grid"] = "grid"


class TpeSettings(Frozen):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011); of several objectives, Ozaki et al., 2022."""

    kind: Literal["optuna_tpe"] = "optuna_tpe"
    seed: int = 0
    num_startup_trials: int = Field(default=4, ge=1, description="ended trials before which values are drawn")


class Nsga2Settings(Frozen):
    """Optuna's NSGA-II, an evolution for several objectives (Deb et al., 2002)."""

    kind: Literal["optuna_nsga2"] = "optuna_nsga2"
    seed: int = 0
    population: int = Field(default=16, ge=2, description="trials of a generation")


Informed = TpeSettings | Nsga2Settings
Searcher = Annotated[RandomSettings | GridSettings | TpeSettings | Nsga2Settings, Field(discriminator="kind")]
