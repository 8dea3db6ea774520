"""Which trial worker trains which trial, and whose worker has died: a small Ray actor that outlives the workers.

Holds counters; reads and writes nothing. Knows nothing of trainings.
"""

from collections import Counter

import ray

ALONE_AFTER, FAILS_AFTER = 2, 3  # deaths of a trial's company: then it runs alone; then it was the culprit


class TrialDesk:
    """One for each sweep. A trial's company are the trials that its worker trained when the worker's process died."""

    def __init__(self, num_workers: int) -> None:
        self._trials: list[set[str]] = [set() for _ in range(num_workers)]
        self._company: list[tuple[str, ...]] = [()] * num_workers
        self._deaths: Counter[str] = Counter()
        self._news: list[str] = []

    def place(self, trial: str) -> int:
        """The worker of a trial: the one it has, else the least loaded."""
        for worker, trials in enumerate(self._trials):
            if trial in trials:
                return worker
        worker = min(range(len(self._trials)), key=lambda one: len(self._trials[one]))
        self._trials[worker].add(trial)
        return worker

    def free(self, trial: str) -> None:
        """The trial needs no worker for now."""
        for trials in self._trials:
            trials.discard(trial)

    def opened(self, worker: int) -> None:
        """A worker's process has started; where it had a company, the one before it has died."""
        company, self._company[worker] = self._company[worker], ()
        self._deaths.update(company)
        if company:
            names = ", ".join(name.rpartition("/")[2] for name in company)
            self._news.append(f"a trial worker died and was started anew; trials {names} go on from their checkpoints")

    def trains(self, worker: int, trials: tuple[str, ...]) -> None:
        """What a worker trains from now on."""
        self._company[worker] = trials

    def deaths(self, trial: str) -> int:
        """How often the process that trained this trial has died."""
        return self._deaths[trial]

    def news(self) -> list[str]:
        """What has happened since the last call, in words."""
        news, self._news = self._news, []
        return news


TrialDeskActor = ray.remote(num_cpus=0)(TrialDesk)
