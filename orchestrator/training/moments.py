"""When a training's process had reached what on the way to its first step.

Holds a small clock. Reads and writes nothing. Knows nothing of models or of drivers.
"""

import time

BEGUN, FIRST_STEP = "begun", "first_step"
FIRST_STEP_S = "speed/first_step_s"


class Moments:
    """Seconds since 1970, by what was reached then: `begun`, `data`, `student`, `first_batch`, `first_step`."""

    def __init__(self) -> None:
        self.at = {BEGUN: time.time()}
        self._is_told = False

    def reached(self, name: str) -> None:
        """Note the moment, of the first time alone."""
        self.at.setdefault(name, time.time())

    def told_once(self) -> dict[str, float]:
        """The metric of a process's first epoch: seconds from the begin to the first optimiser step."""
        if self._is_told:
            return {}
        self._is_told = True
        return {FIRST_STEP_S: self.at[FIRST_STEP] - self.at[BEGUN]}
