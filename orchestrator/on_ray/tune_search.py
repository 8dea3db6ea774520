"""What Tune asks for trials and tells of them: the sweep's folder is the truth, and this is its reader and writer.

Knows nothing of how trials run, and keeps nothing that Tune would have to pickle.
"""

import queue
from collections.abc import Mapping
from typing import Any

import ray.tune
from ray.tune.search import Searcher

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.executors.protocol import SweepJob
from orchestrator.on_ray.schedulers import hears_again, is_population
from orchestrator.on_ray.trial_journal import EPOCH, SECONDS, TrialTurn, read_history, read_turn
from orchestrator.on_ray.trial_proxy import ERROR, HAS_ENDED, NUMBER, VALUES, WORKER, number_of
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.trial import TrialResult

POPULATION = "population.json"


class SweepState:
    """The sweep as it stands: its folder, and the trials that run.

    Args:
        share: CPUs and GPUs that are held for one trial.
    """

    def __init__(self, job: SweepJob, share: tuple[float, float]) -> None:
        self.job, self.found, self._share = job, SweepFolder(job.folder), share
        self.running: dict[int, TrialResult] = {}
        self.told: queue.SimpleQueue[TrialResult] = queue.SimpleQueue()
        self.used_up = ""
        self._proposer = job.proposer()
        hears = hears_again(job.space)
        again = [number for number, one in self.found.ended().items() if hears and self._tells(one)]
        self._again = again + list(self.found.waiting())
        if is_population(job.space):
            begins = self._population_begins()
            self._again = sorted(number for number in self._again if number >= begins)

    def _tells(self, result: TrialResult) -> bool:
        """Whether a scheduler that stops trials has anything to hear of it."""
        return any(all(name in row for name in self.job.space.objectives) for row in result.history)

    def _population_begins(self) -> int:
        """The first trial of the population under way; trials that ended before it are none of it."""
        path = self.job.folder / POPULATION
        if not self.found.waiting():
            write_json(path, {"first": len(self.found.suggested())})
        return int(read_json(path)["first"])

    def is_open(self) -> bool:
        """Whether any trial is to be run, or may be proposed."""
        if self.found.waiting():
            return True
        ended = self.found.ended().values()
        number = len(self.found.suggested())
        return not self.job.used_up(self.found) and self._proposer.propose(number, ended) is not None

    def next_config(self) -> dict[str, Any] | None:
        """The next trial: one to be told again or gone on with, then a new one; None when there is none any more."""
        if self._again:
            return self.config(self._again.pop(0))
        self.used_up = self.job.used_up(self.found, list(self.running.values()))
        if self.used_up:
            return None
        number = len(self.found.suggested())
        running = [one.values for one in self.running.values()]
        values = self._proposer.propose(number, self.found.ended().values(), running)
        if values is None:
            return None
        self.found.suggest(number, values)
        return self.config(number)

    def config(self, number: int) -> dict[str, Any]:
        """What Tune gives the proxy of a trial."""
        values = self.found.suggested()[number]
        if number not in self.found.ended():
            self.running.setdefault(number, TrialResult(number, values, {}, 0, "running"))
        return {NUMBER: number, VALUES: dict(values)}

    def hear(self, number: int, config: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """A trial goes on."""
        metrics = {name: float(report[name]) for name in self.job.space.objectives if name in report}
        if number in self.found.ended():
            return
        now = TrialResult(number, dict(config[VALUES]), metrics, int(report.get(EPOCH, 0)), "running")
        self.running[number] = now
        self.found.tick()
        self.told.put(now)

    def end(self, number: int, config: Mapping[str, Any], report: Mapping[str, Any], error: str = "") -> None:
        """A trial has ended: it is in the folder when this returns."""
        self.running.pop(number, None)
        if number in self.found.ended():
            return
        turn = read_turn(self.job.folder, number, config[VALUES])
        history = read_history(self.job.folder, turn)
        error = error or str(report.get(ERROR, ""))
        status: Any = "failed" if error else "finished" if report.get(HAS_ENDED) else "stopped"
        seconds = history[-1][SECONDS] if history else 0.0
        rows = [{name: value for name, value in row.items() if name != SECONDS} for row in history]
        metrics = {name: value for row in rows for name, value in row.items() if name != EPOCH}
        epochs = int(rows[-1][EPOCH]) if rows else 0
        result = TrialResult(
            number, dict(turn.values), metrics, epochs, status, error, tuple(rows), seconds,
            seconds * self._share[0], seconds * self._share[1],
        )  # fmt: skip
        self.found.end(result)
        self.told.put(result)


class FolderSearcher(Searcher):
    """Tune's searcher: the folder's trials first, then what the sweep's proposer says.

    Args:
        most_at_once: no further trial is proposed while so many run.
    """

    def __init__(self, state: SweepState, most_at_once: int) -> None:
        super().__init__()
        self._state, self._most, self._live = state, most_at_once, set[str]()

    def suggest(self, trial_id: str) -> Any:
        """See `Searcher`."""
        if len(self._live) >= self._most:
            return None
        config = self._state.next_config()
        if config is None:
            return Searcher.FINISHED
        self._live.add(trial_id)
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See `Searcher`; what it has reached comes by `TuneCallback`."""
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the folder has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneCallback(ray.tune.Callback):
    """Tells the sweep's state what Tune sees, and a trial's worker that the trial was stopped."""

    def __init__(self, state: SweepState, workers: list[Any]) -> None:
        self._state, self._workers = state, workers

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """See `ray.tune.Callback`."""
        self._state.hear(number_of(str(trial)), trial.config, result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See `ray.tune.Callback`."""
        report = trial.last_result or {}
        place = report.get(WORKER)
        if place is not None and not report.get(HAS_ENDED) and self._workers:
            turn = TrialTurn(number_of(str(trial)), trial.config[VALUES])
            self._workers[place].let_go.remote(turn)
        self._state.end(number_of(str(trial)), trial.config, report)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See `ray.tune.Callback`."""
        lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
        error = lines[-1] if lines else "its process died"
        self._state.end(number_of(str(trial)), trial.config, trial.last_result or {}, error)

    def __getstate__(self) -> dict[str, Any]:
        return {}
