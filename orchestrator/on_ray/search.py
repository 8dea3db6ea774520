"""Ray Tune: a sweep whose one-worker trials run the training loop inside the trial itself.

No trial nests a Train run, so none waits for CPUs that trials hold. A trial's own checkpoints make it resumable; Tune's
state (searcher, scheduler, trials) is restored from the sweep's folder. Knows nothing of stages.
"""

import functools
import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import ray.tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import TrialSettings
from orchestrator.errors import ArtifactError
from orchestrator.executors.protocol import OnResult, SweepJob
from orchestrator.executors.trial_run import start_trial_run
from orchestrator.search.domains import Choice, Domain, Integer, LogUniform, Uniform
from orchestrator.search.schedulers import AshaSettings
from orchestrator.search.searchers import RandomSettings, TpeSettings
from orchestrator.search.trial import TrialResult
from orchestrator.training.run import PROGRESS, train

EPOCH, VALUES = "epoch", "values"
POLL_S = 0.5


def _run_trial(config: dict[str, Any], sweep: SweepJob) -> None:
    """What each trial runs: the plain training loop, with one report for each evaluation."""
    number = _trial_number(ray.tune.get_context().get_trial_name())
    values = config[VALUES]
    job = sweep.make_job(number, values)
    start_trial_run(sweep, job, number, values)
    for progress in train(job):
        if sweep.space.metric in progress.metrics:
            ray.tune.report({EPOCH: progress.epoch, **progress.metrics})


def _trial_name(trial: Any, first: int) -> str:
    """Tune's name and folder of a trial: the counter that leads its tag and survives restores (its id is random)."""
    return f"trial_{int(trial.experiment_tag.split('_', 1)[0]) - first:05d}"


def _trial_number(name: str) -> int:
    """0-based number of a trial, from its name."""
    return int(name.rsplit("_", 1)[-1])


def sweep(job: SweepJob, trials: TrialSettings, on_result: OnResult) -> list[TrialResult]:
    """Run or continue a sweep; finished trials are not repeated.

    Raises:
        ArtifactError: Tune itself failed (a failing trial does not: it is a row with an error).
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    state = job.folder / "tune" / "state"
    trainable = ray.tune.with_resources(
        ray.tune.with_parameters(_run_trial, sweep=job),
        {"CPU": trials.num_cpus_per_worker, "GPU": trials.num_gpus_per_worker},
    )
    if ray.tune.Tuner.can_restore(str(state)):
        tuner = ray.tune.Tuner.restore(str(state), trainable=trainable, resume_unfinished=True, restart_errored=True)
    else:
        tuner = _new_tuner(job, trials, trainable, state)
    outcome: list[Any] = []

    def fit() -> None:
        try:
            outcome.append(tuner.fit())
        except Exception as error:  # told to the caller below, in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        for running in _running(job):
            on_result(running)
    if isinstance(outcome[0], Exception):
        raise ArtifactError(f"the sweep failed: {outcome[0]}", remedy="the same command resumes it") from outcome[0]
    results = sorted((_result(job, found) for found in outcome[0]), key=lambda result: result.number)
    for result in results:
        on_result(result)
    return results


def _running(job: SweepJob) -> list[TrialResult]:
    """How far the trials are, from the files they write."""
    found = []
    for path in sorted((job.folder / "trials").glob(f"*/{PROGRESS}")):
        progress = read_json(path)
        number = int(path.parent.name)
        found.append(TrialResult(number, {}, _floats(progress), int(progress[EPOCH]), "running"))
    return found


def _result(job: SweepJob, found: Any) -> TrialResult:
    metrics = _floats(found.metrics or {})
    epochs = int(metrics.pop(EPOCH, 0))
    number = _trial_number(Path(found.path).name)
    values = dict(found.config[VALUES])
    if found.error is not None:
        lines = [line for line in str(found.error).splitlines() if line.strip()]
        return TrialResult(number, values, metrics, epochs, "failed", lines[-1].strip() if lines else "died")
    wanted = job.make_job(number, values).training.epochs
    return TrialResult(number, values, metrics, epochs, "finished" if epochs >= wanted else "stopped")


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Our own metrics, without Tune's bookkeeping."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if (name == EPOCH or "/" in name) and isinstance(value, int | float)
    }


def _new_tuner(job: SweepJob, trials: TrialSettings, trainable: Any, state: Path) -> ray.tune.Tuner:
    space = job.space
    run_config = ray.tune.RunConfig(name=state.name, storage_path=str(state.parent), verbose=0)
    # Tune counts from 1 the trials that a searcher proposes, and from 0 those it draws itself.
    name = functools.partial(_trial_name, first=1 if isinstance(space.searcher, TpeSettings) else 0)
    names: dict[str, Any] = {"trial_name_creator": name, "trial_dirname_creator": name}
    if isinstance(space.searcher, TpeSettings):
        points = [{f"{VALUES}/{path}": value for path, value in point.items()} for point in space.points]
        search = OptunaSearch(
            {f"{VALUES}/{path}": _optuna_distribution(domain) for path, domain in space.parameters.items()},
            metric=space.metric, mode=space.mode, points_to_evaluate=points or None,
            sampler=optuna.samplers.TPESampler(
                seed=space.searcher.seed, n_startup_trials=space.searcher.num_startup_trials
            ),
        )  # fmt: skip
        config = ray.tune.TuneConfig(
            num_samples=space.num_trials,
            search_alg=ConcurrencyLimiter(search, max_concurrent=trials.most_at_once),
            scheduler=_scheduler(job),
            **names,
        )
        return ray.tune.Tuner(trainable, tune_config=config, run_config=run_config)
    config = ray.tune.TuneConfig(
        num_samples=space.num_trials,
        max_concurrent_trials=trials.most_at_once,
        search_alg=BasicVariantGenerator(
            points_to_evaluate=[{VALUES: dict(point)} for point in space.points] or None,
            random_state=space.searcher.seed if isinstance(space.searcher, RandomSettings) else None,
        ),
        scheduler=_scheduler(job),
        **names,
    )
    domains = {VALUES: {path: _tune_domain(domain) for path, domain in space.parameters.items()}}
    return ray.tune.Tuner(trainable, param_space=domains, tune_config=config, run_config=run_config)


def _scheduler(job: SweepJob) -> TrialScheduler:
    space = job.space
    if not isinstance(space.scheduler, AshaSettings):
        return FIFOScheduler()
    epochs = job.make_job(0, space.sample(random.Random(0))).training.epochs
    return ASHAScheduler(
        time_attr=EPOCH,
        metric=space.metric,
        mode=space.mode,
        max_t=epochs,
        grace_period=min(space.scheduler.grace_epochs, epochs),
        reduction_factor=space.scheduler.reduction_factor,
    )


def _optuna_distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    match domain:
        case Uniform():
            return optuna.distributions.FloatDistribution(domain.low, domain.high, step=domain.step)
        case Integer():
            return optuna.distributions.IntDistribution(domain.low, domain.high, step=domain.step, log=domain.log)
        case LogUniform():
            return optuna.distributions.FloatDistribution(domain.low, domain.high, log=True)
        case Choice():
            return optuna.distributions.CategoricalDistribution(list(domain.values))


def _tune_domain(domain: Domain) -> Any:
    match domain:
        case Uniform():
            return ray.tune.uniform(domain.low, domain.high)
        case Integer():
            return ray.tune.qrandint(domain.low, domain.high, domain.step)
        case LogUniform():
            return ray.tune.loguniform(domain.low, domain.high)
        case Choice():
            return ray.tune.choice(list(domain.values))
