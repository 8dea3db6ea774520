"""Tune's schedulers from a search space's settings; and why a population cannot be trained where it cannot.

Reads and writes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ray.tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from orchestrator.config.execution import TrialSettings
from orchestrator.errors import ConfigError
from orchestrator.on_ray.population import Pb2, Pbt
from orchestrator.on_ray.trial_journal import EPOCH
from orchestrator.on_ray.trial_proxy import VALUES
from orchestrator.search.domains import Choice, Domain, Integer, LogUniform, Uniform
from orchestrator.search.schedulers import (
    AshaSettings,
    HyperBandSettings,
    MedianSettings,
    NoSchedulerSettings,
    Pb2Settings,
    PbtSettings,
)
from orchestrator.search.space import SearchSpace


def is_population(space: SearchSpace) -> bool:
    """Whether trials go on from one another's states."""
    return isinstance(space.scheduler, PbtSettings | Pb2Settings)


def hears_again(space: SearchSpace) -> bool:
    """Whether the scheduler is told anew, after a restart, what trials had told: one that decides by it is."""
    return not isinstance(space.scheduler, NoSchedulerSettings)


def check_population(space: SearchSpace, trials: TrialSettings) -> None:
    """Refuse a population whose trials cannot take over states.

    Raises:
        ConfigError: a trial trains on several workers.
    """
    if is_population(space) and trials.num_train_workers > 1:
        raise ConfigError(
            f"scheduler {space.scheduler.kind}, trials.num_train_workers {trials.num_train_workers}: its trials go on "
            "from one another's states, and a trial that is a Ray Train run of its own from its own alone",
            expected="trials of one worker",
            remedy="set execution.trials.num_train_workers to 1, or take scheduler asha",
        )


def build_scheduler(space: SearchSpace, epochs: int) -> TrialScheduler:
    """The scheduler; time is the epoch.

    Args:
        epochs: of a trial that is not stopped.
    """
    told = {"time_attr": EPOCH, "metric": space.metric, "mode": space.mode}
    match space.scheduler:
        case AshaSettings() as asha:
            grace = min(asha.grace_epochs, epochs)
            return ASHAScheduler(max_t=epochs, grace_period=grace, reduction_factor=asha.reduction_factor, **told)
        case HyperBandSettings() as hyperband:
            return HyperBandScheduler(max_t=epochs, reduction_factor=hyperband.reduction_factor, **told)
        case MedianSettings() as median:
            return MedianStoppingRule(grace_period=median.grace_epochs, min_samples_required=median.min_trials, **told)
        case PbtSettings() as pbt:
            return Pbt(
                seed=pbt.seed,
                perturbation_interval=pbt.interval_epochs,
                hyperparam_mutations={VALUES: {path: _mutation(one) for path, one in space.parameters.items()}},
                quantile_fraction=pbt.quantile_fraction,
                resample_probability=pbt.resample_fraction,
                custom_explore_fn=_within(space.parameters),
                **told,
            )
        case Pb2Settings() as pb2:
            bounds = {
                path: [one.low, one.high]
                for path, one in space.parameters.items()
                if isinstance(one, Uniform | LogUniform)
            }
            return Pb2(
                seed=pb2.seed,
                perturbation_interval=pb2.interval_epochs,
                hyperparam_bounds={VALUES: bounds},
                quantile_fraction=pb2.quantile_fraction,
                custom_explore_fn=_within(space.parameters),
                **told,
            )
        case _:
            return FIFOScheduler()


def _mutation(domain: Domain) -> Any:
    match domain:
        case Uniform():
            return ray.tune.uniform(domain.low, domain.high)
        case LogUniform():
            return ray.tune.loguniform(domain.low, domain.high)
        case Integer():
            return ray.tune.randint(domain.low, domain.high + 1)
        case Choice():
            return list(domain.values)


def _within(parameters: Mapping[str, Domain]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Moves what was multiplied out of its domain to the nearest value within."""

    def moved(config: dict[str, Any]) -> dict[str, Any]:
        values = dict(config[VALUES])
        for path, domain in parameters.items():
            if not isinstance(domain, Choice):
                values[path] = domain.nearest(float(values[path]))
        return {**config, VALUES: values}

    return moved
