"""How much a sweep may take: when a limit is reached no new trial is proposed, and those that run go on to their end.

Holds settings and their arithmetic. Reads and writes nothing.
"""

from collections.abc import Collection

from pydantic import Field

from orchestrator.config.execution import PriceSettings
from orchestrator.frozen import Frozen
from orchestrator.search.trial import TrialResult

HOUR_S = 3600.0


class Budget(Frozen):
    """Limits of a whole sweep, over all restarts of its command; null: none. The first that is reached counts."""

    num_trials: int | None = Field(
        default=None, ge=1, description="trials, the points to be tried first among them; null: a grid's every cell"
    )
    epochs: int | None = Field(default=None, ge=1, description="epochs trained, over all trials")
    hours: float | None = Field(default=None, gt=0, description="wall time while the sweep's command runs")
    gpu_hours: float | None = Field(
        default=None, gt=0, description="devices (or their fractions) times hours of trials"
    )
    cost_usd: float | None = Field(default=None, gt=0, description="hours of trials at the prices of the execution")

    def reached(
        self, trials: Collection[TrialResult], *, proposed: int, elapsed_s: float, prices: PriceSettings | None = None
    ) -> str:
        """Which limit is reached, in words; "" when a further trial may be proposed.

        Args:
            trials: those that have ended, and of those that run what is known.
            proposed: how many trials there are, ended or not.
            elapsed_s: wall time of the sweep over all restarts.
        """
        spent = {
            "trials": (float(proposed), self.num_trials),
            "epochs": (float(sum(one.epochs for one in trials)), self.epochs),
            "hours": (elapsed_s / HOUR_S, self.hours),
            "GPU-hours": (sum(one.gpu_seconds for one in trials) / HOUR_S, self.gpu_hours),
            "USD": (cost_usd(trials, prices or PriceSettings()), self.cost_usd),
        }
        reached = [f"{limit:,g} {unit}" for unit, (so_far, limit) in spent.items() if limit and so_far >= limit]
        return f"the budget of {reached[0]} is used up" if reached else ""

    def unpriced(self, prices: PriceSettings) -> str:
        """Why the cost cannot be told, or "". A price of 0 is a price."""
        if self.cost_usd is None or prices.gpu_hour_usd is not None or prices.cpu_hour_usd is not None:
            return ""
        return "budget.cost_usd: the execution has no prices.gpu_hour_usd or prices.cpu_hour_usd"


def cost_usd(trials: Collection[TrialResult], prices: PriceSettings) -> float:
    """What the trials have cost; what has no price costs nothing."""
    return sum(
        (one.gpu_seconds * (prices.gpu_hour_usd or 0) + one.cpu_seconds * (prices.cpu_hour_usd or 0)) / HOUR_S
        for one in trials
    )
