"""Tune's PBT and PB2 made a function of results alone: the trials of a population wait for one another.

Tune's own `synch=True` looks at the population while the last trial reports. Then others may still be saved, trials of
unequal epochs are compared when an actor was started anew, and all wait for ever when the last trial ends instead of
reporting. Here each trial is paused at the epoch of the next look, and the look comes when all are paused. Reads and
writes nothing.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2


class _InStep(PopulationBasedTraining):
    """What both have in common.

    Args:
        seed: of donors and values; those of a look depend on it, the trial and the epoch, and on nothing drawn before.
    """

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(synch=True, log_config=False, **settings)
        self._seed = seed

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """See `TrialScheduler`; a trial whose process died is added once more, and stands where it stood."""
        known = self._trial_state.get(trial)
        super().on_trial_add(tune_controller, trial)
        if known is not None:
            self._trial_state[trial] = known

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """See `TrialScheduler`."""
        epoch = result[self._time_attr]
        if epoch < self._next_perturbation_sync:
            return TrialScheduler.CONTINUE
        state = self._trial_state[trial]
        state.last_train_time, state.last_result = epoch, result
        return TrialScheduler.PAUSE

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """See `TrialScheduler`; asked again and again, also when a trial has ended."""
        trials = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        if trials and all(trial.status == Trial.PAUSED and self._waits(trial) for trial in trials):
            self._look(tune_controller, sorted(trials, key=str))
        return super().choose_trial_to_run(tune_controller)

    def _waits(self, trial: Trial) -> bool:
        return bool(self._trial_state[trial].last_train_time >= self._next_perturbation_sync)

    def _look(self, tune_controller: Any, trials: list[Trial]) -> None:
        """Compare the population, all of which is paused; the worst go on from the best."""
        states = [self._trial_state[trial] for trial in trials]
        for trial, state in zip(trials, states, strict=True):
            self._save_trial_state(state, state.last_train_time, state.last_result, trial)
        epoch = max(state.last_train_time for state in states)
        worst, best = self._quantiles()
        for trial in (*best, *worst):
            with _drawing_from(f"{self._seed}/{trial}/{epoch}"):
                self._checkpoint_or_exploit(trial, tune_controller, best, worst)
        self._next_perturbation_sync = epoch + self._perturbation_interval


class Pbt(_InStep):
    """Population based training (Jaderberg et al., 2017)."""


class Pb2(_InStep, PB2):
    """Population based bandits (Parker-Holder et al., 2020)."""


@contextmanager
def _drawing_from(seed: str) -> Iterator[None]:
    """With Python's and NumPy's own random numbers, which Tune draws from, begun at a seed; then as they were."""
    before, numpy_before = random.getstate(), np.random.get_state()
    generator = random.Random(seed)
    random.setstate(generator.getstate())
    np.random.seed(generator.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
