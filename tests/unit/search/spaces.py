"""Small search spaces for tests."""

from typing import Any

from orchestrator.config.load import validate
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult

WEIGHT = {"losses.text.weight": {"kind": "loguniform", "low": 0.1, "high": 10}}
ABOUT = {"name": "test", "question": "?", "expected": "!", "cost": "none"}
RANDOM = {"kind": "random", "seed": 0}
NONE = {"kind": "none"}


def space(**changes: Any) -> SearchSpace:
    """A space of one weight and four trials with changes."""
    return validate(SearchSpace, {**ABOUT, "parameters": WEIGHT, "budget": {"num_trials": 4}, **changes}, "test")


def ended(number: int, values: dict[str, Any], reached: float, **told: Any) -> TrialResult:
    """A trial that ran to its end."""
    told = {"metrics": {"select/all": reached}, "epochs": 3, "status": "finished", **told}
    return TrialResult(number, values, **told)
