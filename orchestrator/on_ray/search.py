"""Ray Tune: a sweep whose trials are light proxies, and whose work is done by long-lived trial workers.

Tune decides which trial goes on; a worker trains a pack of them. What happened stands in the sweep's folder; Tune's own
state is made anew by each command and removed with it. Knows nothing of stages.
"""

import os
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune.search import BasicVariantGenerator

from orchestrator.config.execution import TrialSettings
from orchestrator.errors import ArtifactError
from orchestrator.executors.protocol import OnEvent, OnResult, SweepJob
from orchestrator.on_ray.folders import HEAD, Folders
from orchestrator.on_ray.nested_trial import NestedTrial
from orchestrator.on_ray.schedulers import build_scheduler, check_population, hears_again, is_population
from orchestrator.on_ray.trial_desk import TrialDeskActor
from orchestrator.on_ray.trial_journal import DONORS
from orchestrator.on_ray.trial_proxy import NUMBER, VALUES, TrialProxy, name_of
from orchestrator.on_ray.trial_worker import TrialWorker
from orchestrator.on_ray.tune_search import FolderSearcher, SweepState, TuneCallback
from orchestrator.search.schedulers import HyperBandSettings, NoSchedulerSettings
from orchestrator.search.trial import TrialResult

TUNE = "tune"
POLL_S = 0.5
CLOSES_WITHIN_S = 120.0  # trial workers, which heed it after a batch and then write checkpoints
ENVIRONMENT = {  # of Tune in this process, while the sweep runs
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trials' folders have it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has nothing to report
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the sweep's folder is its state
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "3600",
}


def sweep(
    job: SweepJob, trials: TrialSettings, storage: Path, folders: Folders, on_result: OnResult, on_event: OnEvent
) -> list[TrialResult]:
    """Run or continue a sweep; trials that have ended are not repeated.

    Args:
        storage: of Ray Train, where trials train on several workers.

    Raises:
        ConfigError: the scheduler cannot go with such trials.
        ArtifactError: Tune itself failed (a failing trial does not: it is a row with an error).
    """
    check_population(job.space, trials)
    cpus = trials.num_cpus_per_worker * trials.num_train_workers / trials.trials_per_worker
    gpus = trials.num_gpus_per_worker * trials.num_train_workers / trials.trials_per_worker
    state = SweepState(job, (cpus, gpus))
    if not state.is_open():
        return list(state.found.ended().values())
    shutil.rmtree(job.folder / TUNE, ignore_errors=True)
    with _environment(trials), _workers(job, trials, folders) as (desk, workers):
        tuner = _tuner(job, trials, partial(NestedTrial, job, trials, storage, folders), state, desk, workers)
        outcome: list[Any] = []

        def fit() -> None:
            try:
                outcome.append(tuner.fit())
            except Exception as error:  # told to the caller below, in the caller's thread
                outcome.append(error)

        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        while thread.is_alive() or not state.told.empty():
            for news in ray.get(desk.news.remote()):
                on_event(news)
            _tell(state, on_result)
        thread.join()
    shutil.rmtree(job.folder / TUNE, ignore_errors=True)
    if isinstance(outcome[0], Exception):
        raise ArtifactError(f"the sweep failed: {outcome[0]}", remedy="the same command resumes it") from outcome[0]
    shutil.rmtree(job.folder / DONORS, ignore_errors=True)
    if state.used_up:
        on_event(state.used_up)
    return list(state.found.ended().values())


def _tell(state: SweepState, on_result: OnResult) -> None:
    """Pass on what the trials have told, until nothing has come for a moment."""
    while True:
        try:
            on_result(state.told.get(timeout=POLL_S))
        except queue.Empty:
            return


@contextmanager
def _environment(trials: TrialSettings) -> Iterator[None]:
    wanted = {**ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(trials.most_at_once)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _workers(job: SweepJob, trials: TrialSettings, folders: Folders) -> Iterator[tuple[Any, list[Any]]]:
    """The desk and the trial workers of a sweep; when it ends they have ended, too."""
    name = f"trial-desk-{uuid.uuid4().hex}"
    on_head = {HEAD: 0.001}  # like the proxies, so that no loss of another node takes it along
    desk = TrialDeskActor.options(name=name, resources=on_head).remote(trials.num_workers)
    workers: list[Any] = []
    if trials.num_train_workers == 1:
        remote = ray.remote(TrialWorker).options(
            num_cpus=trials.num_cpus_per_worker,
            num_gpus=trials.num_gpus_per_worker,
            max_restarts=-1,
            max_concurrency=2 * trials.trials_per_worker + 8,
        )
        told = replace(job, warm=())  # small: what is not goes to the object store, where a restart could find it lost
        is_judged = not isinstance(job.space.scheduler, NoSchedulerSettings)
        workers = [
            remote.remote(place, told, trials.trials_per_worker, is_judged, name, folders)
            for place in range(trials.num_workers)
        ]
    try:
        yield desk, workers
    finally:
        closing = [worker.close.remote() for worker in workers]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSES_WITHIN_S)
        for actor in (*workers, desk):
            ray.kill(actor)


def _tuner(
    job: SweepJob, trials: TrialSettings, nested: Any, state: SweepState, desk: Any, workers: list[Any]
) -> ray.tune.Tuner:
    space, most = job.space, trials.most_at_once
    proxy = ray.tune.with_parameters(
        TrialProxy,
        folder=str(job.folder),
        objectives=tuple(space.objectives),
        hears=hears_again(space),
        keeps=is_population(space),
        desk=desk,
        workers=workers,
        nested=nested if trials.num_train_workers > 1 else None,
    )
    # A share of the head node: as many proxies are placed as trials may run, and none takes a CPU from a worker.
    trainable = ray.tune.with_resources(proxy, {HEAD: round(1 / (most + 0.5), 4)})
    searches: dict[str, Any] = {}
    param_space: dict[str, Any] = {}
    if is_population(space):  # Tune takes no searcher with a population: all of it is proposed at once
        configs: dict[int, dict[str, Any]] = {}
        while (config := state.next_config()) is not None:
            configs[config[NUMBER]] = config
        values = {number: config[VALUES] for number, config in configs.items()}
        param_space = {
            NUMBER: ray.tune.grid_search(list(configs)),
            VALUES: ray.tune.sample_from(lambda spec: dict(values[spec.config[NUMBER]])),
        }
        searches = {"search_alg": BasicVariantGenerator(), "num_samples": 1}
    else:
        pauses = isinstance(space.scheduler, HyperBandSettings)  # a paused trial is none of those that run
        searcher = FolderSearcher(state, space.num_trials if pauses else most)
        searches = {"search_alg": searcher, "num_samples": len(state.found.suggested()) + space.num_trials}
    first = state.found.suggested().get(0) or job.proposer().propose(0) or {}
    config = ray.tune.TuneConfig(
        scheduler=build_scheduler(space, job.make_job(0, first).training.epochs),
        reuse_actors=True,
        trial_name_creator=lambda trial: name_of(trial.config[NUMBER]),
        trial_dirname_creator=lambda trial: name_of(trial.config[NUMBER]),
        **searches,
    )
    run_config = ray.tune.RunConfig(
        name=f"attempt_{time.time_ns()}",
        storage_path=str(job.folder / TUNE),
        verbose=0,
        callbacks=[TuneCallback(state, workers)],
        failure_config=ray.tune.FailureConfig(max_failures=3),
        checkpoint_config=ray.tune.CheckpointConfig(checkpoint_at_end=False),  # a trial's folder has its state
    )
    return ray.tune.Tuner(trainable, param_space=param_space, tune_config=config, run_config=run_config)
